// @ts-check
// The stage: one event stream of the running job, drawn in place, and how the last job ended.
"use strict";
(() => {
  const { $, draw, announce, post, toast, typing } = window.comfy.kit;
  const FIRST_PAUSE_MS = 2000;
  const LONGEST_PAUSE_MS = 60000;

  /** @param {string} id */
  const place = (id) => $(`#${id} .island, #${id}.island`);
  /** @type {EventSource | null} */
  let stream = null;
  let job = ""; // the unfinished job that the stage shows
  let pause = FIRST_PAUSE_MS;
  let latest = 0; // the number of the newest request for the stage

  function buttons() {
    const label = job ? "Add to queue" : "Generate";
    const generate = $("#generate");
    if (generate && generate.dataset.label !== label) {
      generate.dataset.label = label;
      generate.textContent = label;
    }
    const stop = $("#stop");
    if (stop && stop.disabled === Boolean(job)) stop.disabled = !job;
  }
  function close() {
    stream?.close();
    stream = null;
    job = "";
  }
  /**
   * Follows a job, whose card is the stream's first event.
   * @param {string} next
   */
  function follow(next) {
    if (next === job) return;
    close();
    job = next;
    buttons();
    const opened = (stream = new EventSource(`stage/events?job=${encodeURIComponent(job)}`));
    stream.onmessage = (event) => {
      pause = FIRST_PAUSE_MS;
      draw(place("stage"), JSON.parse(event.data));
    };
    stream.addEventListener("over", () => refresh({ ended: job }));
    stream.onerror = () => {
      // The browser reopens a lost connection. It gives up on a response that is no stream.
      if (opened.readyState === EventSource.CLOSED) again({});
    };
  }
  /** @param {{ ended?: string, item?: string }} request */
  function again(request) {
    close();
    setTimeout(() => refresh(request), pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }
  const shownItem = () => $("#stage [data-shown]")?.dataset.shown ?? "";
  // Draws the stage and the results as they are now. `ended`: the job that was followed until now;
  // `item`: which of a job's results to show.
  async function refresh({ ended = "", item = shownItem() } = {}) {
    const number = ++latest;
    if (ended === job) close();
    const query = new URLSearchParams({ shown: job, ended, item });
    const response = await fetch(`stage?${query}`).catch(() => null);
    const state = response?.ok ? await response.json().catch(() => null) : null;
    if (number !== latest) return; // a newer request is under way
    if (!state) return again({ ended });
    for (const [id, html] of [["stage", state.card], ["results", state.results]]) {
      if (html === null) continue;
      draw(place(id), html);
      announce(place(id));
    }
    if (state.notice) window.comfy.notice(state.notice);
    if (state.stopped) toast("Stopped");
    if (state.job) follow(state.job);
    else close();
    buttons();
    window.comfy.estimate();
  }
  /**
   * Shows what a press of Generate has queued.
   * @param {{ job: string, shown: string }} answer
   */
  function queued({ job: made, shown }) {
    latest += 1; // an answer under way does not know of it
    window.comfy.estimate();
    if (shown) follow(shown);
    else if (made) refresh({ ended: made }); // it has ended already
  }

  Object.assign(window.comfy, { queued, refreshStage: refresh });
  Object.assign(window.comfy.actions, {
    "show-result": (button) => refresh({ item: button.dataset.item }),
    "last-result": () => refresh(),
    async "keep-preview"(button) {
      button.disabled = true;
      const kept = await post("stage/keep", { job: button.closest("[data-job]").dataset.job });
      button.disabled = false;
      if (!kept) return;
      toast("Preview kept");
      refresh({ item: String(kept.item) });
    },
  });
  document.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
    const step = { ArrowLeft: ".step-back", ArrowRight: ".step-on" }[event.key];
    const button = step && event.target.closest?.("#stage") && $(`#stage ${step}`);
    if (!button || typing(event.target) || /^(VIDEO|AUDIO)$/.test(event.target.tagName)) return;
    event.preventDefault();
    button.click();
  });
  /** @type {AnyElement | null} */
  let home = null;
  window.comfy.onIsland((island) => {
    if (island === home || !island.closest("#stage")) return;
    home = island;
    refresh();
  });
  // Gradio mounts its buttons when their scripts have come, which may be after the stage.
  new MutationObserver(buttons).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["disabled"] });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (/** @type {On<PageTransitionEvent>} */ event) => event.persisted && refresh());
  // Another tab or device may have started a job while this one was in the background.
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh());
})();
