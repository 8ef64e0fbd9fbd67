// @ts-check
// The stage: one event stream of the running job, drawn in place, and how the last job ended. A
// result that the user opens covers it; a running job is then a line above.
"use strict";
(() => {
  const { $, $$, draw, announce, post, insist, named, toast, typing, smooth, toCreate, dialogOpen } = window.comfy.kit;
  const FIRST_PAUSE_MS = 2000;
  const LONGEST_PAUSE_MS = 60000;

  /** @param {string} id */
  const place = (id) => $(`#${id} .island, #${id}.island`);
  /** @type {EventSource | null} */
  let stream = null;
  let job = ""; // the unfinished job that the stage shows
  let pause = FIRST_PAUSE_MS;
  let latest = 0; // the number of the newest request for the stage
  let opened = ""; // the finished job that covers the stage

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
    const source = (stream = new EventSource(`stage/events?job=${encodeURIComponent(job)}`));
    stream.onmessage = (event) => {
      pause = FIRST_PAUSE_MS;
      draw(place("stage"), JSON.parse(event.data));
    };
    stream.addEventListener("over", () => refresh({ ended: job }));
    stream.onerror = () => {
      // The browser reopens a lost connection. It gives up on a response that is no stream.
      if (source.readyState === EventSource.CLOSED) again({});
    };
  }
  /** @param {{ ended?: string, item?: string }} request */
  function again(request) {
    close();
    setTimeout(() => refresh(request), pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }
  /** @param {string} id */
  const shownItem = (id) => $(`#${id} [data-shown]`)?.dataset.shown ?? "";
  // Draws the stage and the results as they are now. `ended`: the job that was followed until now;
  // `item`: which of the last job's results to enlarge; `openedItem`: the same of the opened job.
  async function refresh({ ended = "", item = shownItem("stage"), openedItem = shownItem("opened-result") } = {}) {
    const number = ++latest;
    if (ended === job) close();
    const query = new URLSearchParams({ shown: job, ended, item, opened, opened_item: openedItem });
    const response = await fetch(`stage?${query}`).catch(() => null);
    const state = response?.ok ? await response.json().catch(() => null) : null;
    if (number !== latest) return; // a newer request is under way
    if (!state) return again({ ended });
    for (const [id, html] of [["stage", state.card], ["opened-result", state.opened], ["results", state.results]]) {
      if (html === null) continue;
      draw(place(id), html);
      announce(place(id));
    }
    // An error must not stay behind an opened result.
    if (state.opened === "" || (ended && $("#stage :is(.failed, .lost)"))) closeOpened();
    mark();
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
    closeOpened();
    window.comfy.estimate();
    if (shown) follow(shown);
    else if (made) refresh({ ended: made }); // it has ended already
  }


  // ---- results on the stage --------------------------------------------------------------------

  /** The card that is seen. */
  const card = () => $("#opened-result .stage") ?? $("#stage .stage");
  function closeOpened() {
    opened = "";
    if (place("opened-result")) draw(place("opened-result"), "");
    mark();
  }
  /**
   * Enlarges a result on the stage; without `item` all results of the job are a grid.
   * @param {string} of the job
   * @param {string} item
   */
  async function open(of, item) {
    const last = $("#stage .stage");
    if (last?.dataset.phase === "succeeded" && last.dataset.job === of) {
      closeOpened();
      await refresh({ item });
    } else {
      opened = of;
      await refresh({ openedItem: item });
    }
    if (document.activeElement === document.body) $(".cell, .full-screen", card())?.focus({ preventScroll: true });
  }
  /** @param {AnyElement} thumb */
  function showResult(thumb) {
    if ($("#stage-area").getBoundingClientRect().top < 0) scrollTo({ top: 0, behavior: smooth() });
    return open(thumb.dataset.of, thumb.dataset.open);
  }
  const strip = () => $$("#results .thumb");
  /** The result before or after the enlarged one: of its job, then of the results below. @param {number} by */
  function neighbor(by) {
    const canvas = $(".canvas[data-shown]", card());
    if (!canvas) return null;
    const batch = canvas.dataset.batch.split(" ");
    const inBatch = batch[batch.indexOf(canvas.dataset.shown) + by];
    if (inBatch) return { of: canvas.dataset.of, item: inBatch };
    const thumbs = strip();
    const at = thumbs.findIndex((thumb) => thumb.dataset.open === canvas.dataset.shown);
    const next = at < 0 ? null : thumbs[at + by];
    return next ? { of: next.dataset.of, item: next.dataset.open } : null;
  }
  /** @param {number} by */
  function step(by) {
    const next = neighbor(by);
    if (next) open(next.of, next.item);
  }
  /** Marks the enlarged result below, and the ends of the walk. */
  function mark() {
    const shown = $("[data-shown]", card())?.dataset.shown;
    for (const thumb of strip()) {
      if (thumb.dataset.open === shown) thumb.setAttribute("aria-current", "true");
      else thumb.removeAttribute("aria-current");
    }
    for (const button of $$("[data-do=step-result]", card())) button.disabled = !neighbor(Number(button.dataset.by));
  }

  Object.assign(window.comfy, { queued, refreshStage: refresh, showResult });
  Object.assign(window.comfy.actions, {
    "step-result": (button) => step(Number(button.dataset.by)),
    "show-batch": (button) => open(button.closest(".stage").dataset.job, ""),
    "show-live": closeOpened,
    async "go-on"(button) {
      button.disabled = true;
      const { way, items } = button.dataset;
      const answer = await insist("create/go-on", { way, items: items.split(",").map(Number), press: named() });
      button.disabled = false;
      if (!answer) return;
      window.comfy.notice(answer.notice);
      queued(answer);
      const viewer = button.closest("#viewer");
      if (!viewer) return;
      viewer.close();
      toCreate();
    },
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
  // The keys of results: on the stage, in the row below it, or where nothing has the focus.
  document.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
    const { target } = event;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialogOpen() || typing(target)) return;
    if (!target.matches("body") && !target.closest("#stage-area")) return;
    if (!$("#stage-area")?.offsetParent || /^(VIDEO|AUDIO)$/.test(target.tagName)) return;
    if (act(event)) event.preventDefault();
  });
  /** @param {On<KeyboardEvent>} event */
  function act(event) {
    const { key, target } = event;
    const shown = $(".canvas[data-shown]", card());
    const by = { ArrowLeft: -1, ArrowRight: 1 }[key];
    const thumb = target.closest(".thumb");
    if (thumb && /^Arrow/.test(key)) return walk(thumb, key);
    if (shown && by) return step(by), true;
    if (shown && key === "Escape" && (shown.dataset.batch || opened)) {
      if (shown.dataset.batch) open(shown.dataset.of, "");
      else closeOpened();
      return true;
    }
    if (!shown && !thumb && by && $(".cell", card())) return $(".cell", card()).focus(), true;
    return key !== "Backspace" && window.comfy.keys(event, thumb ?? shown);
  }
  /** Moves the focus to the thumbnail beside or below. @param {AnyElement} thumb @param {string} key */
  function walk(thumb, key) {
    const all = $$(".thumb", thumb.parentElement);
    const columns = all.filter((other) => other.offsetTop === all[0].offsetTop).length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key] ?? 0;
    const next = all[all.indexOf(thumb) + by];
    next?.focus();
    return Boolean(next);
  }
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
