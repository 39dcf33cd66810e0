import { client, createJob, getJob, type PhotoType } from "./triptych/index.js";

export async function makePictures(photo: Blob, api: string, token: string): Promise<string[]> {
  client.setConfig({ baseUrl: api, auth: token });
  const order = { content_type: photo.type as PhotoType, content_length: photo.size };
  const { data: created, error } = await createJob({ body: order });
  if (!created?.upload) throw new Error(JSON.stringify(error)); // an ErrorResponse has a code and a message
  const { url, method, headers } = created.upload;
  if (!(await fetch(url, { method, headers, body: photo })).ok) throw new Error("the upload was refused");
  while (true) {
    const { data: job } = await getJob({ path: { job_id: created.job_id }, throwOnError: true });
    if (job.ended_at) return job.images.flatMap((image) => image.url ?? []);
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}
