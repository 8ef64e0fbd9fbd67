// Model files on their way: shown wherever the page has a place for them, asked about only while
// something is on its way.
"use strict";
(() => {
  const { $, $$, post } = window.comfy.kit;
  let told = null;
  let timer = 0;

  function draw() {
    for (const place of $$("[data-downloads]")) {
      place.hidden = !told?.html;
      if (place.shown === told?.html) continue;
      place.innerHTML = place.shown = told?.html ?? "";
    }
  }
  function take(news) {
    if (!news) return;
    const arrived = told && news.done > told.done;
    told = news;
    draw();
    if (arrived) lookAgain();
    clearTimeout(timer);
    if (told.active) timer = setTimeout(ask, 1000);
  }
  async function ask() {
    if (document.hidden) return (timer = setTimeout(ask, 1000));
    const answer = await fetch("downloads").catch(() => null);
    if (answer?.ok) take(await answer.json());
    else if (told?.active) timer = setTimeout(ask, 3000);
  }
  // What lacked the file may be ready now.
  function lookAgain() {
    const opened = $("#opened .opened")?.dataset.opened;
    if (opened) $("#sources .island, #sources.island")?.comfyTrigger("show", { id: opened });
    const status = $("#server .island, #server.island");
    if (status?.getClientRects().length) status.comfyTrigger("refresh", {});
  }
  Object.assign(window.comfy.actions, {
    async "fetch-models"(button) {
      take(await post("downloads/start", { form: button.dataset.form, file: button.dataset.file ?? "" }));
      $$("[data-downloads]").find((place) => place.getClientRects().length)?.scrollIntoView({ block: "nearest" });
    },
    async "stop-download"(button) {
      take(await post("downloads/stop", { id: button.dataset.id }));
    },
  });
  // After a reload: whoever may see downloads has a place for them.
  window.comfy.onIsland((element) => {
    if (!element.querySelector("[data-downloads]")) return;
    if (told) draw();
    else ask();
  });
})();
