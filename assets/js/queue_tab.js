// @ts-check
// The Queue tab: one event stream while it is visible, rows that change in place, and the actions
// on waiting jobs.
"use strict";
(() => {
  const { $, $$, make, morph, toast, post, insist, named, recall, typing, dialogOpen } = window.comfy.kit;

  const root = () => $(".queue");
  /** @typedef {{ now: string[], past: string[], rows: Record<string, string>, summary: string }} QueueUpdate */
  /** @type {EventSource | null} */
  let stream = null;
  /** @type {{ row: AnyElement, next: Element | null } | null} */
  let dragged = null;
  /** Idempotency keys of Try again by job, until the answer and past a double click. @type {Record<string, string>} */
  const retries = {};

  // ---- rows ----------------------------------------------------------------------------------

  /** @param {string} html */
  function element(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    for (const time of $$("time[data-at]", template.content)) time.textContent = new Date(time.dataset.at * 1000).toLocaleTimeString([], { timeStyle: "short" });
    return template.content.firstElementChild;
  }
  /**
   * @param {AnyElement} place
   * @param {string[]} ids
   * @param {Record<string, string>} rows
   */
  function list(place, ids, rows) {
    const known = new Map([...place.children].map((row) => [row.dataset.job, row]));
    let at = place.firstElementChild;
    for (const id of ids) {
      let row = known.get(id);
      known.delete(id);
      if (!row) row = element(rows[id]);
      else if (rows[id]) morph(row, element(rows[id]));
      if (row === at) at = at.nextElementSibling;
      else place.insertBefore(row, at);
    }
    for (const gone of known.values()) gone.remove();
  }
  /** The newest row of each job: a job moves from one list to the other. @type {Record<string, string>} */
  const kept = {};
  /** @type {QueueUpdate | null} */
  let last = null;
  /** @param {QueueUpdate} news */
  function draw(news) {
    Object.assign(kept, news.rows);
    if (dragged || pending) return (last = news); // the user is changing the order
    last = null;
    const box = root();
    for (const id of Object.keys(kept)) if (!news.now.includes(id) && !news.past.includes(id)) delete kept[id];
    morph($(".summary", box), make("div", { className: "summary", innerHTML: news.summary }));
    list($(".line-now", box), news.now, kept);
    list($(".line-past", box), news.past, kept);
    box.classList.remove("loading-first");
    box.classList.toggle("idle", !news.now.length);
    box.classList.toggle("new", !news.past.length);
    $(".said", box).textContent = news.now.length ? `${news.now.length} of your jobs in the queue` : "No waiting jobs";
  }

  // ---- stream --------------------------------------------------------------------------------

  function listen() {
    if (stream) return;
    stream = new EventSource("queue/events");
    stream.onmessage = (event) => draw(JSON.parse(event.data));
  }
  function rest() {
    stream?.close();
    stream = null;
  }
  const seen = new IntersectionObserver((entries) => {
    const visible = entries.at(-1)?.isIntersecting;
    if (visible && document.visibilityState === "visible") listen();
    else rest();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") rest();
    else if (root()?.offsetParent) listen();
  });
  addEventListener("pagehide", rest);
  window.comfy.onIsland((island) => {
    const box = $(".queue", island);
    if (box) seen.observe(box);
  });

  // ---- what can be done ----------------------------------------------------------------------

  const rowOf = (button) => button.closest(".job");
  const idOf = (button) => button.closest("[data-job]").dataset.job;
  let moves = Promise.resolve(); // one after the other: the last move of the user counts
  let pending = 0;
  function move(row) {
    const next = row.nextElementSibling?.classList.contains("waits") ? row.nextElementSibling.dataset.job : null;
    const job = row.dataset.job;
    pending++;
    moves = moves.then(async () => {
      const done = await post("queue/move", { job, before: next });
      if (done && !done.done) toast("It has already started");
      if (!--pending && !dragged && last) draw(last);
    });
  }
  const waiting = () => $$(".line-now .job.waits");

  Object.assign(window.comfy.actions, {
    "cancel-job": (button) => post("queue/cancel", { job: idOf(button) }),
    "clear-queue": () => post("queue/clear", {}),
    "pause-queue": () => post("queue/pause", { paused: true }),
    "resume-queue": () => post("queue/pause", { paused: false }),
    "pause-all": () => post("queue/pause", { paused: true, everyone: true }),
    "resume-all": () => post("queue/pause", { paused: false, everyone: true }),
    "first-job"(button) {
      const row = rowOf(button);
      const first = waiting()[0];
      if (first && first !== row) first.before(row);
      move(row);
    },
    async "retry-job"(button) {
      const job = idOf(button);
      const press = (retries[job] ??= named());
      if (!(await insist("queue/retry", { job, press }))) return;
      setTimeout(() => retries[job] === press && delete retries[job], 1000);
      toast("Queued again");
      window.comfy.refreshStage(); // the live preview shows it instead of the failed job
    },
    "reuse-job": (button) => recall({ job: idOf(button), what: "all" }),
    "edit-job"(button) {
      const id = idOf(button);
      recall({ job: id, what: "all" });
      window.comfy.edit(id);
    },
  });

  // Arrow keys on the grip; dragging it, with mouse, pen or finger.
  document.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
    const grip = event.target.closest?.(".queue .grip");
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!grip || !step || typing(event.target) || dialogOpen()) return;
    event.preventDefault();
    const row = rowOf(grip);
    const all = waiting();
    const other = all[all.indexOf(row) + step];
    if (!other) return;
    step < 0 ? other.before(row) : other.after(row);
    grip.focus();
    move(row);
  });
  document.addEventListener("pointerdown", (/** @type {On<PointerEvent>} */ event) => {
    const grip = event.target.closest?.(".queue button.grip");
    if (!grip || event.button) return;
    event.preventDefault();
    grip.focus();
    const row = rowOf(grip);
    dragged = { row, next: row.nextElementSibling };
    row.classList.add("dragged");
  });
  document.addEventListener("pointermove", (/** @type {On<PointerEvent>} */ event) => {
    const moved = dragged?.row;
    if (!moved) return;
    const after = waiting().filter((row) => row !== moved).find((row) => {
      const { top, height } = row.getBoundingClientRect();
      return event.clientY < top + height / 2;
    });
    if (after) after.before(moved);
    else waiting().at(-1).after(moved);
  });
  function drop() {
    if (!dragged) return;
    const { row, next } = dragged;
    dragged = null;
    row.classList.remove("dragged");
    if (row.nextElementSibling !== next) move(row);
    if (last) draw(last);
  }
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, drop);
})();
