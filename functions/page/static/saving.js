// Taking pictures away: download one or all, share, copy.

import { getJob } from "./api.js";
import { jobOf, learn } from "./jobs.js";
import { freshUrl } from "./pictures.js";
import { Problem } from "./problem.js";
import { arrival, send } from "./session.js";
import { zip } from "./zip.js";

const extension = (blob) => blob.type.split("/")[1]?.replace("jpeg", "jpg") ?? "png";
const nameOf = (job, index, blob) => `triptych-${job.job_id.slice(0, 8)}-${index + 1}.${extension(blob)}`;

/** The bytes of a picture. */
async function fetchPicture(job, index) {
  const { url } = job.images[index];
  let answer = url ? await send(url).catch(() => null) : null;
  if (!answer?.ok) answer = await send(await freshUrl(job.job_id, index));
  if (!answer.ok) throw new Problem("unavailable");
  return arrival(answer.blob());
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Save a picture. It is fetched first, because a browser opens a link to another origin instead of saving it. */
export async function downloadOne(job, index) {
  const blob = await fetchPicture(job, index);
  save(blob, nameOf(job, index, blob));
}

/** Save all pictures of a job as one ZIP file. */
export async function downloadAll({ job_id }) {
  learn(await getJob(job_id));
  const job = jobOf(job_id);
  const files = [];
  for (const image of job.images) {
    if (image.status !== "STORED") continue;
    const blob = await fetchPicture(job, image.index);
    files.push({ name: nameOf(job, image.index, blob), bytes: new Uint8Array(await blob.arrayBuffer()) });
  }
  save(zip(files), `triptych-${job_id.slice(0, 8)}.zip`);
}

const probe = () => ({ files: [new File(["x"], "x.png", { type: "image/png" })] });
export const canShare = () => Boolean(navigator.canShare?.(probe()));
export const canCopy = () => Boolean(navigator.clipboard?.write && window.ClipboardItem);

export async function share(job, index) {
  const blob = await fetchPicture(job, index);
  const file = new File([blob], nameOf(job, index, blob), { type: blob.type });
  await navigator.share({ files: [file] }).catch((error) => {
    if (error.name !== "AbortError") throw new Problem("unavailable");
  });
}

/** Copy a picture. Clipboards take PNG only. */
export async function copy(job, index) {
  const png = fetchPicture(job, index).then(toPng);
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
  } catch {
    throw new Problem("copy_failed");
  }
}

async function toPng(blob) {
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
