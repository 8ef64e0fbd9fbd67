// @ts-check
// Downloads of model files: shown in every data-downloads element, polled only while one is active.
"use strict";
(() => {
  const { $, $$, post } = window.comfy.kit;
  /** @typedef {{ html: string, active: boolean, done: number }} Downloads */
  /** @type {Downloads | null} */
  let downloads = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  function draw() {
    for (const place of $$("[data-downloads]")) {
      place.hidden = !downloads?.html;
      if (place.shown === downloads?.html) continue;
      place.innerHTML = place.shown = downloads?.html ?? "";
    }
  }
  /** @param {Downloads | null} news */
  function take(news) {
    if (!news) return;
    const arrived = downloads && news.done > downloads.done;
    downloads = news;
    draw();
    if (arrived) lookAgain();
    clearTimeout(timer);
    if (news.active) timer = setTimeout(ask, 1000);
  }
  async function ask() {
    if (document.hidden) return (timer = setTimeout(ask, 1000));
    const answer = await fetch("downloads").catch(() => null);
    if (answer?.ok) take(await answer.json());
    else if (downloads?.active) timer = setTimeout(ask, 3000);
  }
  // A workflow that lacked the file may be ready now.
  function lookAgain() {
    const opened = $("#opened .opened")?.dataset.opened;
    if (opened) window.comfy.workflows.refreshReport(opened);
    const status = $("#server .island, #server.island");
    if (status?.getClientRects().length) status.comfyTrigger("refresh", {});
  }
  Object.assign(window.comfy.actions, {
    async "fetch-models"(button) {
      const { address = "", form = "", file = "" } = button.dataset;
      const folder = $("[data-folder]", button.closest(".row"))?.value ?? "";
      take(await post("downloads/start", address ? { address, file, folder } : { form, file }));
      $$("[data-downloads]").find((place) => place.getClientRects().length)?.scrollIntoView({ block: "nearest" });
    },
    async "pause-download"(button) {
      take(await post("downloads/pause", { id: button.dataset.id }));
    },
    async "resume-download"(button) {
      take(await post("downloads/resume", { id: button.dataset.id }));
    },
    async "stop-download"(button) {
      take(await post("downloads/stop", { id: button.dataset.id }));
    },
  });
  // After a reload: only users who may see downloads have an element for them.
  window.comfy.onIsland((element) => {
    if (!element.querySelector("[data-downloads]")) return;
    if (downloads) draw();
    else ask();
  });
})();
