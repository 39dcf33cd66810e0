// A whole job with the TypeScript client. It returns what it saw, for the test to compare.
import {
  cancelJob, client, createJob, deleteJob, getJob, getLimits, getStylePreview, getUsage, listJobs, listStyles, repeatImage, retryJob,
  type CreateJob, type ErrorResponse, type JobStatus, type JobView, type Refusal,
} from "./triptych/index.js";

const SECONDS = 90; // for all images of a job

/** Create a job, upload its photo, wait, retry, list, repeat, cancel and delete, with some refusals between. */
export async function wholeJob(photo: Blob, api: string, token: string): Promise<Record<string, unknown>> {
  client.setConfig({ baseUrl: api, auth: token });
  const seen: Record<string, unknown> = {};

  const limits = needed(await getLimits());
  const { styles: [style] } = needed(await listStyles());
  const preview = needed(await getStylePreview({ path: { style_id: style.id } }));
  seen["preview"] = await preview.slice(0, 4).text();

  const order: CreateJob = { content_type: "image/jpeg", content_length: photo.size, style: style.id, metadata: { client: "typescript" } };
  const headers = { "idempotency-key": "typescript-1" };
  const created = needed(await createJob({ body: order, headers }));
  const again = needed(await createJob({ body: order, headers }));
  seen["same key, same job"] = again.job_id === created.job_id;
  if (!created.upload) throw new Error("there is nothing to upload to");
  const { url, ...upload } = created.upload;
  const uploaded = await fetch(url, { ...upload, body: photo });
  if (!uploaded.ok) throw new Error(await uploaded.text());

  let job = await ended(created.job_id);
  const path = { job_id: job.job_id };
  seen["first end"] = job.status;
  seen["why"] = job.images.flatMap((image) => image.error?.code ?? []);
  needed(await retryJob({ path }));
  job = await ended(job.job_id);
  seen["end after the retry"] = job.status;
  seen["second retry"] = refused(await retryJob({ path }));

  const pictures = await Promise.all(job.images.map(async (image) => (await fetch(image.url ?? "")).text()));
  seen["pictures"] = new Set(pictures).size;
  const lengths = await Promise.all(job.images.map(async (image) => (await (await fetch(image.url ?? "")).blob()).size));
  seen["sizes"] = job.images.every((image, at) => image.size === lengths[at]);
  const { response } = await getJob({ path });
  const unchanged = await getJob({ path, headers: { "if-none-match": response.headers.get("etag") ?? "" } });
  seen["not changed"] = unchanged.response.status;

  const more = needed(await repeatImage({ path: { ...path, index: 0 } }));
  seen["one more"] = [(await ended(more.job_id)).status, more.upload];
  const waiting = needed(await createJob({ body: order }));
  seen["canceled"] = needed(await cancelJob({ path: { job_id: waiting.job_id } })).status;

  const jobs = [job.job_id, more.job_id, waiting.job_id];
  seen["pages"] = (await listed("typescript")).map((one) => jobs.indexOf(one));
  seen["succeeded"] = (await listed("typescript", "SUCCEEDED")).map((one) => jobs.indexOf(one));
  seen["another's"] = await listed("another");
  seen["counted"] = needed(await getUsage()).pictures_today >= pictures.length;

  seen["too large"] = refused(await createJob({ body: { ...order, content_length: limits.max_upload_bytes + 1 } }));
  seen["no token"] = refused(await getUsage({ auth: "none" }));
  seen["deleted"] = [];
  for (const job_id of jobs) (seen["deleted"] as number[]).push((await deleteJob({ path: { job_id } })).response.status);
  seen["gone"] = refused(await getJob({ path }));
  return seen;
}

function needed<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

/** Return the status of a refusal, and its code, or the gateway's message. */
function refused(answer: { error?: ErrorResponse | Refusal; response: Response }): [number, string] {
  const { error, response } = answer;
  if (!error) throw new Error(`${response.status} is not refused`);
  return [response.status, "error" in error ? error.error.code : error.message];
}

async function ended(job_id: string): Promise<JobView> {
  const giveUpAt = Date.now() + SECONDS * 1000;
  while (true) {
    const job = needed(await getJob({ path: { job_id } }));
    if (job.ended_at) return job;
    if (Date.now() > giveUpAt) throw new Error(JSON.stringify(job));
    await new Promise((resolve) => setTimeout(resolve, 200)); // there is no event to wait for
  }
}

/** List the jobs of a client of this name, page by page. */
async function listed(name: string, status?: JobStatus): Promise<string[]> {
  const found: string[] = [];
  let cursor: string | undefined;
  do {
    const page = needed(await listJobs({ query: { limit: 2, cursor, status, metadata: { "metadata.client": name } } }));
    found.push(...page.jobs.map((job) => job.job_id));
    cursor = page.cursor ?? undefined;
  } while (cursor);
  return found;
}
