// While the user looks elsewhere: the title of the tab, and a notification if the user wants one.

import { $ } from "./dom.js";
import { on } from "./events.js";
import { running } from "./jobs.js";
import { t } from "./language.js";
import { open } from "./route.js";

let news = ""; // the title that says how jobs ended while the tab was hidden

const possible = () => "Notification" in window;

function render() {
  const jobs = running();
  const images = jobs.flatMap((job) => job.images);
  const count = images.filter((image) => image.status === "STORED").length;
  if (jobs.length) document.title = t("title.running", { count, total: images.length });
  else document.title = t(news || "title.plain");
  $("notify").hidden = !jobs.length || !possible() || Notification.permission !== "default";
}

$("notify").addEventListener("click", async () => {
  await Notification.requestPermission().catch(() => {});
  render();
  if ($("notify").hidden) $("work-title").focus({ preventScroll: true });
});

function tell(job) {
  if (!document.hidden) return;
  const count = job.images.filter((image) => image.status === "STORED").length;
  if (count) news = "title.ready";
  else news ||= "title.failed";
  if (!possible() || Notification.permission !== "granted") return;
  try {
    const notice = new Notification(count ? t("title.notice", { count }) : t("title.notice_none"), {
      body: job.prompt ?? "",
      tag: job.job_id,
      icon: new URL("./icon.svg", import.meta.url).href,
    });
    notice.addEventListener("click", () => {
      window.focus();
      open(job.job_id);
      notice.close();
    });
  } catch {
    // Chrome on Android has notifications of service workers only.
  }
}

on("ended", (job) => {
  tell(job);
  render();
});
for (const name of ["job", "removed", "restored", "gone", "signed-in", "signed-out", "language"]) on(name, render);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) news = "";
  render();
});
