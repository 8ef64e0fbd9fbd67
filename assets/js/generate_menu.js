// @ts-check
// The menu beside Generate, and the notification when everything is done.
"use strict";
(() => {
  const { $, $$, load, post, save, toast } = window.comfy.kit;
  const TELL = "comfy-ui.tell";
  const SOUND = "comfy-ui.sound";
  const OVER = ["succeeded", "failed", "cancelled", "lost"];

  let times = 1;
  /** @param {AnyElement} button */
  const close = (button) => (button.closest("details").open = false);
  function timesShown() {
    for (const button of $$(".menu .time")) button.setAttribute("aria-pressed", String(Number(button.dataset.times) === times));
    const generate = $("#generate");
    if (!generate) return; // Gradio mounts one after the other
    if (times > 1) generate.dataset.times = `${times} ×`;
    else delete generate.dataset.times;
  }
  const clear = /** @type {() => Promise<any>} */ (window.comfy.actions["clear-queue"]);
  Object.assign(window.comfy.actions, {
    "run-first"(button) {
      close(button);
      window.comfy.press({ first: true });
    },
    times(button) {
      times = Number(button.dataset.times);
      timesShown();
    },
    async "clear-queue"(button) {
      const done = await clear();
      if (!button.closest(".menu") || !done) return;
      close(button);
      toast(done.done ? `${done.done} cancelled` : "You had no waiting jobs");
    },
  });
  window.comfy.series = () => {
    const step = $("#seed-step")?.valueAsNumber;
    return { times, seed_step: Number.isInteger(step) ? step : 1, repeated: repeats, ...window.comfy.grid() };
  };

  // ---- repeat until stopped -----------------------------------------------------------------------------

  let repeating = false;
  let repeats = 0;
  let repeatedFor = ""; // the job whose start has queued the next one
  /** That next one, perhaps still on its way. @type {Promise<string | undefined>} */
  let nextJob = Promise.resolve(undefined);
  /** @param {boolean} on */
  function repeatUntilStopped(on) {
    repeating = on;
    repeats = 0;
    repeatedFor = "";
    const box = $("#repeat");
    if (box) box.checked = on;
    if (on) next($("#stage .stage"));
  }
  /** Queues the next job when the last one has started, so that ComfyUI is never idle. @param {AnyElement} stage */
  function next(stage) {
    const { phase: now = "", job = "", live = "0" } = stage?.dataset ?? {};
    if (!repeating) return;
    if (["failed", "cancelled", "lost"].includes(now) && repeats) {
      endRepeating(job);
      return toast("Repeating stopped");
    }
    const started = ["loading", "running", "saving"].includes(now) && live === "1";
    const idle = live === "0";
    if (!(started || idle) || (job === repeatedFor && repeats)) return;
    repeatedFor = job;
    nextJob = window.comfy.repeat();
    repeats += 1;
  }
  /** Also takes the next job out of the queue. @param {string} shown the job that the stage shows */
  async function endRepeating(shown) {
    repeatUntilStopped(false);
    const job = await nextJob;
    if (job && job !== shown) await post("queue/cancel", { job });
    nextJob = Promise.resolve(undefined);
  }
  window.comfy.actions["stop-after"] = async (/** @type {AnyElement} */ button) => {
    close(button);
    await endRepeating($("#stage .stage")?.dataset.job ?? "");
    if (await post("queue/pause", { paused: true })) toast("Nothing else starts until you resume the queue");
  };

  // ---- notification when everything is done -------------------------------------------------------------

  const { translated } = window.comfy;
  const tellShown = () => ($("#with-sound").closest("label").hidden = !$("#tell-me").checked);
  let title = "";
  /** @type {string | undefined} */
  let phase;
  /** @type {AudioContext | undefined} */
  let speaker;
  // Two soft notes. Browsers allow sound only after the user has interacted with the page.
  function sound() {
    speaker ??= new AudioContext();
    const loud = speaker.createGain();
    loud.connect(speaker.destination);
    loud.gain.setValueAtTime(0.12, speaker.currentTime);
    loud.gain.exponentialRampToValueAtTime(0.0001, speaker.currentTime + 0.9);
    for (const [hertz, after] of [[587, 0], [880, 0.14]]) {
      const note = new OscillatorNode(speaker, { frequency: hertz });
      note.connect(loud);
      note.start(speaker.currentTime + after);
      note.stop(speaker.currentTime + 0.9);
    }
  }
  function ended() {
    if (!load(TELL, false) || document.visibilityState === "visible") return;
    if (!document.title.startsWith("✓")) title = document.title;
    document.title = translated(phase === "succeeded" ? "✓ Done" : "✓ Ended");
    if (load(SOUND, false)) sound();
    if (window.Notification?.permission !== "granted") return;
    const notice = new Notification(translated(phase === "succeeded" ? "Your images are ready" : "Your job has ended"), { body: $("#prompt textarea")?.value.slice(0, 120), tag: "comfy-ui" });
    notice.onclick = () => (window.focus(), notice.close());
  }
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible" && document.title.startsWith("✓")) document.title = title;
  });
  document.addEventListener("change", async (/** @type {On<Event>} */ event) => {
    if (event.target.id === "with-sound") {
      save(SOUND, event.target.checked);
      if (event.target.checked) sound();
    }
    if (event.target.id === "repeat") event.target.checked ? repeatUntilStopped(true) : endRepeating($("#stage .stage")?.dataset.job ?? "");
    if (event.target.id !== "tell-me") return;
    tellShown();
    save(TELL, event.target.checked);
    if (event.target.checked && window.Notification?.permission === "default") await Notification.requestPermission();
    if (event.target.checked && window.Notification?.permission !== "granted") toast("The browser blocks notifications here, so this tab's title will tell you");
  });
  window.comfy.onIsland((element) => {
    if ($(".menu", element)) {
      $("#tell-me").checked = load(TELL, false);
      $("#with-sound").checked = load(SOUND, false);
      tellShown();
      timesShown();
    }
    if (!element.closest("#stage")) return;
    new MutationObserver(() => {
      next($(".stage", element));
      const now = $(".stage", element)?.dataset.phase;
      if (now === phase) return;
      const was = phase;
      phase = now;
      if (was && !OVER.includes(was) && OVER.includes(now)) ended();
    }).observe(element, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-phase", "data-job", "data-live"] });
  });
})();
