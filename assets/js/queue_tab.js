// @ts-check
// The Queue tab: one event stream while it is visible, rows that change in place, groups that unfold,
// and the actions on waiting jobs.
"use strict";
(() => {
  const { $, $$, make, morph, toast, post, insist, named, recall, typing, dialogOpen } = window.comfy.kit;

  const root = () => $(".queue");
  /** @typedef {{ now: string[], past: string[], rows: Record<string, string>, summary: string, count: number }} QueueUpdate */
  /** @type {EventSource | null} */
  let stream = null;
  /** @type {{ row: AnyElement, next: Element | null } | null} */
  let dragged = null;
  /** Idempotency keys of Try again by job, until the answer and past a double click. @type {Record<string, string>} */
  const retries = {};
  const AGAIN_MS = 2000;
  // News on its way when a move is answered still has the old order. The next one comes within half of this.
  const NEW_ORDER_MS = 600;
  const MEMBERS_PAGE = 25;
  const MEMBERS_REST_MS = 1000;
  /** The unfolded groups: how many jobs are shown, and whether their request runs or has to be repeated. @type {Map<string, { count: number, busy: boolean, stale: boolean }>} */
  const unfolded = new Map();

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
      if (!row) row = expanded(element(rows[id]));
      else if (rows[id]) morph(row, expanded(element(rows[id]), $(":scope > .members", row)));
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
    for (const id of unfolded.keys()) if (news.rows[id] || !$(`[data-job="${id}"] > .members`, box)) members(id);
    box.classList.remove("loading-first");
    box.classList.toggle("idle", !news.now.length);
    box.classList.toggle("new", !news.past.length);
    $(".said", box).textContent = news.count ? `${news.count} of your jobs in the queue` : "No waiting jobs";
  }

  // ---- groups --------------------------------------------------------------------------------

  /** A row as it is while its group is unfolded, with a copy of the shown jobs. @param {AnyElement} row @param {AnyElement} [shown] */
  function expanded(row, shown) {
    if (!unfolded.has(row.dataset.job)) return row;
    $(".unfold", row).setAttribute("aria-expanded", "true");
    if (shown) row.append(shown.cloneNode(true));
    return row;
  }
  /** Fetches the jobs of an unfolded group, once a second at most. @param {string} id */
  async function members(id) {
    const state = unfolded.get(id);
    if (!state) return;
    if (state.busy) return void (state.stale = true);
    Object.assign(state, { busy: true, stale: false });
    const answer = await fetch(`queue/group?${new URLSearchParams({ id, count: String(state.count) })}`).catch(() => null);
    const row = $(`[data-job="${id}"].job-group`, root());
    if (answer?.ok && row && unfolded.has(id)) {
      const fresh = element(await answer.text());
      const shown = $(":scope > .members", row);
      shown ? morph(shown, fresh) : row.append(fresh);
    }
    setTimeout(() => {
      state.busy = false;
      if (state.stale) members(id);
    }, MEMBERS_REST_MS);
  }

  // ---- stream --------------------------------------------------------------------------------

  const inSight = () => root()?.offsetParent && document.visibilityState === "visible";
  function listen() {
    if (stream) return;
    const source = (stream = new EventSource("queue/events"));
    stream.onmessage = (event) => draw(JSON.parse(event.data));
    stream.onerror = () => {
      // The browser reopens a lost connection. It gives up on a response that is no stream.
      if (source.readyState !== EventSource.CLOSED || source !== stream) return;
      stream = null;
      setTimeout(() => inSight() && listen(), AGAIN_MS);
    };
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
    else if (inSight()) listen();
  });
  addEventListener("pagehide", rest);
  window.comfy.onIsland((island) => {
    const box = $(".queue", island);
    if (box) seen.observe(box);
  });

  // ---- what can be done ----------------------------------------------------------------------

  const rowOf = (button) => button.closest(".job");
  const idOf = (button) => button.closest("[data-job]").dataset.job;
  const isGroup = (row) => row.classList.contains("job-group");
  /** The job to put another one before; of a group the first that waits. */
  const firstJob = (row) => row?.dataset.first ?? row?.dataset.job ?? null;
  const inLine = (row) => row.parentElement.matches(".line-now");
  let moves = Promise.resolve(); // one after the other: the last move of the user counts
  let pending = 0;
  function move(row) {
    const next = row.nextElementSibling;
    moveBefore(row, next?.classList.contains("waits") ? firstJob(next) : null);
  }
  /** @param {AnyElement} row @param {string | null} before */
  function moveBefore(row, before) {
    const moved = isGroup(row) ? { group: row.dataset.job } : { job: row.dataset.job };
    pending++;
    moves = moves.then(async () => {
      const done = await post("queue/move", { ...moved, before });
      if (done && !done.done) toast("It has already started");
      setTimeout(() => !--pending && !dragged && last && draw(last), NEW_ORDER_MS);
    });
  }
  const waiting = () => $$(".line-now > .job.waits");

  Object.assign(window.comfy.actions, {
    "cancel-job": (button) => post("queue/cancel", { job: idOf(button) }),
    "clear-queue": () => post("queue/clear", {}),
    "cancel-group": (button) => post("queue/cancel", { group: idOf(button) }),
    "pause-group": (button) => post("queue/pause", { group: idOf(button), paused: true }),
    "resume-group": (button) => post("queue/pause", { group: idOf(button), paused: false }),
    "unfold-group"(button) {
      const id = idOf(button);
      const open = !unfolded.has(id);
      button.setAttribute("aria-expanded", String(open));
      if (open) unfolded.set(id, { count: MEMBERS_PAGE, busy: false, stale: false });
      else unfolded.delete(id);
      if (open) members(id);
      else $(":scope > .members", rowOf(button))?.remove();
    },
    "more-members"(button) {
      const id = idOf(button);
      const state = unfolded.get(id);
      if (!state) return;
      state.count += MEMBERS_PAGE;
      members(id);
    },
    "pause-queue": () => post("queue/pause", { paused: true }),
    "resume-queue": () => post("queue/pause", { paused: false }),
    "pause-all": () => post("queue/pause", { paused: true, everyone: true }),
    "resume-all": () => post("queue/pause", { paused: false, everyone: true }),
    "first-job"(button) {
      const row = rowOf(button);
      const first = waiting()[0];
      if (!inLine(row)) return firstJob(first) === row.dataset.job || moveBefore(row, firstJob(first)); // of an unfolded group
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
