// Pictures on the page, and fresh links to them: a presigned URL is valid for some minutes only.

import { getJob } from "./api.js";
import { emit } from "./events.js";
import { learn, jobOf } from "./jobs.js";

const NEAR = "600px"; // how near the view a card must be before its pictures are loaded; browsers' own rule is lavish

const seen = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      target.src = target.dataset.later;
    }
  },
  { rootMargin: NEAR },
);

/** Ask for a new link to a picture. One that has no preview is shown itself. */
export async function freshUrl(id, index, link = "url") {
  learn(await getJob(id));
  const image = jobOf(id).images[index];
  return image[link] ?? image.url;
}

/**
 * Show the preview of a picture. One that is already shown is not loaded again, although its URL changes. With `later`, it
 * is loaded when it comes near the view.
 */
export function hang(img, job, image, alt, { later = false } = {}) {
  const key = image.status === "STORED" ? `${job.job_id} ${image.index} ${image.prediction_id}` : "";
  img.alt = key && alt;
  if ((img.dataset.key ?? "") === key) return;
  img.dataset.key = key;
  img.classList.remove("there");
  if (!key) return img.removeAttribute("src");
  let renewed = false;
  img.onload = () => {
    img.classList.add("there");
    renewed = false;
    emit("picture");
  };
  img.onerror = async () => {
    img.classList.remove("there");
    if (renewed || img.dataset.key !== key) return;
    renewed = true;
    const url = await freshUrl(job.job_id, image.index, "preview_url").catch(() => null);
    if (url && img.dataset.key === key) img.src = url;
  };
  img.style.backgroundColor = image.color ?? ""; // until it has loaded
  const src = image.preview_url ?? image.url;
  if (!src) return img.onerror(); // a list has no link to a picture without a preview
  if (!later) return (img.src = src);
  img.dataset.later = src;
  seen.observe(img);
}

const linkOf = (job) => job?.photo && (job.photo.preview_url ?? job.photo.url);

/** Show the photo of a job, if it has arrived. A link that is no longer valid is renewed once. */
export function hangPhoto(img, job, alt) {
  const src = linkOf(job);
  img.hidden = !src;
  img.alt = alt;
  const key = src ? job.job_id : "";
  if (img.dataset.key === key) return;
  img.dataset.key = key;
  if (!src) return img.removeAttribute("src");
  img.onerror = async () => {
    img.onerror = null;
    const fresh = linkOf(await getJob(key).catch(() => null));
    if (fresh && img.dataset.key === key) img.src = fresh;
  };
  img.src = src;
}

/** The shape of a job's pictures, as width by height. */
export function ratioOf(job) {
  const known = [...job.images, job.photo].find((one) => one?.width && one.height);
  return known ? Math.min(Math.max(known.width / known.height, 0.6), 1.9) : null;
}
