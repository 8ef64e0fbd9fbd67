// @ts-check
// Players of videos, sounds and 3D models: a strip of frames, a waveform, a turntable; and the dialog
// that trims.
"use strict";
(() => {
  const { $, $$, make, dialog, toast } = window.comfy.kit;
  const SVG = "http://www.w3.org/2000/svg";
  const FRAME_S = 1 / 24; // the shortest part
  const PLAY = "M8 5v14l11-7z";
  const PAUSE = "M8.5 5v14M15.5 5v14";
  const LOOP = "M4 12a8 8 0 0 1 13.5-5.8L20 8.5M20 4v4.5h-4.5M20 12a8 8 0 0 1-13.5 5.8L4 15.5M4 20v-4.5h4.5";

  /** @param {number} seconds */
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  /** @param {number} seconds */
  const exact = (seconds) => `${seconds.toFixed(1)} s`;

  /**
   * A slider over a picture of the recording, which moves along with it.
   * @param {AnyElement} medium
   * @param {AnyElement} picture
   * @param {string} className
   */
  function scrubber(medium, picture, className) {
    const at = make("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, ariaLabel: "Position" });
    const box = make("div", { className: `scrubber ${className}` }, picture, at);
    const show = () => {
      if (!(medium.duration > 0)) return;
      at.max = medium.duration;
      at.value = medium.currentTime;
      at.setAttribute("aria-valuetext", `${clock(medium.currentTime)} / ${clock(medium.duration)}`);
      box.style.setProperty("--at", `${(100 * medium.currentTime) / medium.duration}%`);
    };
    at.oninput = () => (medium.currentTime = Number(at.value));
    for (const event of ["loadedmetadata", "timeupdate", "seeking"]) medium.addEventListener(event, show);
    const follow = () => {
      show();
      if (!medium.paused && medium.isConnected) requestAnimationFrame(follow);
    };
    medium.addEventListener("playing", follow);
    return box;
  }
  /** @param {string} item */
  const strip = (item) => make("img", { src: `timelines/${item}`, alt: "", draggable: false, onerror: (/** @type {any} */ event) => event.target.closest(".scrubber")?.remove() });

  /** A video with its strip below. @param {string} item @param {AnyElement} video */
  function withStrip(item, video) {
    return make("div", { className: "with-strip" }, video, scrubber(video, strip(item), "strip"));
  }

  // ---- sound ---------------------------------------------------------------------------------

  /** @param {string} path */
  function icon(path) {
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("class", "icon");
    drawing.setAttribute("viewBox", "0 0 24 24");
    drawing.setAttribute("aria-hidden", "true");
    drawing.append(document.createElementNS(SVG, "path"));
    drawing.firstElementChild?.setAttribute("d", path);
    return drawing;
  }
  /** The peaks as bars, symmetric about the middle. @param {number[]} peaks */
  function wave(peaks) {
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("viewBox", `0 0 ${peaks.length || 1} 2`);
    drawing.setAttribute("preserveAspectRatio", "none");
    drawing.setAttribute("aria-hidden", "true");
    const loudest = Math.max(...peaks, 0.01);
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", peaks.map((peak, x) => `M${x + 0.5} ${1 - Math.max(0.02, (0.96 * peak) / loudest)}V${1 + Math.max(0.02, (0.96 * peak) / loudest)}`).join(""));
    drawing.append(path);
    return drawing;
  }
  /**
   * @param {string} item
   * @param {string} title
   */
  function soundPlayer(item, title) {
    const audio = make("audio", { src: `files/${item}`, preload: "metadata", ariaLabel: title });
    const picture = make("div", { className: "wave" }, make("div", { className: "bars" }), make("div", { className: "bars played" }));
    fetch(`timelines/${item}`)
      .then((answer) => (answer.ok ? answer.json() : []))
      .then((peaks) => $$(".bars", picture).forEach((bars) => bars.replaceChildren(wave(peaks))))
      .catch(() => {}); // it plays without
    const play = make("button", { type: "button", className: "tool play", ariaLabel: "Play" }, icon(PLAY));
    play.onclick = () => (audio.paused ? audio.play() : audio.pause());
    const time = make("output", { className: "quiet", textContent: "0:00" });
    const loop = make("button", { type: "button", className: "tool", ariaLabel: "Loop", title: "Loop", ariaPressed: "false" }, icon(LOOP));
    loop.onclick = () => loop.setAttribute("aria-pressed", String((audio.loop = !audio.loop)));
    const show = () => {
      play.replaceChildren(icon(audio.paused ? PLAY : PAUSE));
      play.ariaLabel = audio.paused ? "Play" : "Pause";
      if (audio.duration > 0) time.textContent = `${clock(audio.currentTime)} / ${clock(audio.duration)}`;
    };
    for (const event of ["play", "pause", "timeupdate", "loadedmetadata", "ended"]) audio.addEventListener(event, show);
    return make("div", { className: "player" }, make("p", { className: "sound-title", translate: false, textContent: title }), scrubber(audio, picture, "sounds"), make("div", { className: "row" }, play, time, loop), audio);
  }
  // ---- 3D ------------------------------------------------------------------------------------

  const VIEWS = 36; // as in library/mesh_rendering.py
  const COLUMNS = 6;
  const TURN_MS = 7000;
  /**
   * The views of a 3D model, once around. It turns until it is moved; the arrow keys turn it, too.
   * @param {string} item
   * @param {string} title
   */
  function turntable(item, title) {
    const views = make("div", { className: "views", role: "img", ariaLabel: title });
    const at = make("input", { type: "range", min: 0, max: VIEWS - 1, step: 1, value: 0, ariaLabel: "Turn" });
    const box = make("div", { className: "turntable" }, make("img", { className: "poster", src: `thumbs/${item}`, alt: "", draggable: false }), views, at);
    const show = (/** @type {number} */ view) => {
      const index = ((Math.round(view) % VIEWS) + VIEWS) % VIEWS;
      views.style.backgroundPosition = `${(100 * (index % COLUMNS)) / (COLUMNS - 1)}% ${(100 * Math.floor(index / COLUMNS)) / (VIEWS / COLUMNS - 1)}%`;
      at.value = String(index);
    };
    let turning = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    let [from, x] = [0, NaN]; // of a drag
    at.oninput = () => show(Number(at.value));
    at.onkeydown = () => {
      turning = false; // returned, it would prevent the default
    };
    views.onpointerdown = (/** @type {PointerEvent} */ event) => {
      turning = false;
      [from, x] = [Number(at.value), event.clientX];
      views.setPointerCapture(event.pointerId);
    };
    views.onpointermove = (/** @type {PointerEvent} */ event) => void (event.buttons && show(from + ((event.clientX - x) / views.clientWidth) * VIEWS));
    const start = performance.now();
    const turn = (/** @type {number} */ now) => {
      if (!turning || !box.isConnected) return;
      show(((now - start) / TURN_MS) * VIEWS);
      requestAnimationFrame(turn);
    };
    const sheet = new Image();
    sheet.onload = () => {
      views.style.backgroundImage = `url("${sheet.src}")`;
      box.classList.add("ready");
      show(0);
      requestAnimationFrame(turn);
    };
    sheet.src = `timelines/${item}`;
    return box;
  }

  /** The result that each place for a player shows. @type {WeakMap<Element, string>} */
  const players = new WeakMap();
  window.comfy.onIsland((element) => {
    for (const place of $$("[data-sound], [data-turntable]", element)) {
      const { sound, turntable: model, title } = place.dataset;
      if (players.get(place) === (sound ?? model)) continue;
      players.set(place, sound ?? model);
      place.replaceChildren(sound ? soundPlayer(sound, title) : turntable(model, title));
    }
  });

  // ---- trim ----------------------------------------------------------------------------------

  /**
   * Follow the events of a long request; the end of the connection cancels it.
   * @param {string} path
   * @param {unknown} data
   * @param {AbortSignal} signal
   * @param {(done: number) => void} onProgress from 0 to 1
   * @returns {Promise<string>} what went wrong; empty if it succeeded
   */
  async function eventsOf(path, data, signal, onProgress) {
    try {
      const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(data), signal });
      if (!answer.ok || !answer.body) return (await answer.json().catch(() => ({}))).error ?? "That did not work";
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = "", part = await reader.read(); !part.done; part = await reader.read()) {
        const events = (text + part.value).split("\n\n");
        text = events.pop() ?? "";
        for (const event of events.filter((line) => line.startsWith("data: "))) {
          const news = JSON.parse(event.slice(6));
          if (news.error) return news.error;
          if (news.item) return "";
          onProgress(news.progress);
        }
      }
    } catch {
      // as below
    }
    return "Connection lost";
  }

  /** @param {string} item */
  function trim(item) {
    $("#viewer")?.close();
    const video = make("video", { src: `files/${item}`, muted: true, playsInline: true, preload: "auto", autoplay: true, ariaLabel: "The part that is kept" });
    const start = make("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, ariaLabel: "Start" });
    const end = make("input", { type: "range", min: 0, max: 1, step: 0.01, value: 1, ariaLabel: "End" });
    const length = make("output", { className: "quiet" });
    const saved = make("button", { type: "button", className: "act strong", textContent: "Save as a new video", disabled: true });
    const range = make("div", { className: "scrubber range" }, strip(item), make("i", { className: "kept" }), start, end);
    const part = () => [Number(start.value), Number(end.value)];
    const show = () => {
      const [from, to] = part();
      const percent = (/** @type {number} */ seconds) => `${(100 * seconds) / (video.duration || 1)}%`;
      range.style.setProperty("--from", percent(from));
      range.style.setProperty("--to", percent(to));
      length.textContent = `${exact(from)} – ${exact(to)} (${exact(to - from)})`;
      start.setAttribute("aria-valuetext", exact(from));
      end.setAttribute("aria-valuetext", exact(to));
    };
    video.onloadedmetadata = () => {
      start.max = end.max = video.duration;
      end.value = video.duration; // after its maximum, which limits it
      saved.disabled = false;
      show();
    };
    video.ontimeupdate = () => {
      const [from, to] = part();
      if (!video.paused && (video.currentTime >= to || video.currentTime < from - FRAME_S)) video.currentTime = from;
    };
    video.onended = () => {
      video.currentTime = part()[0];
      video.play();
    };
    const limit = (/** @type {any} */ moved) => {
      if (moved === start) start.value = Math.min(start.value, end.value - FRAME_S);
      else end.value = Math.max(end.value, Number(start.value) + FRAME_S);
      video.pause();
      video.currentTime = Number(moved.value);
      show();
    };
    start.oninput = () => limit(start);
    end.oninput = () => limit(end);
    start.onchange = end.onchange = () => {
      video.currentTime = part()[0];
      video.play();
    };
    const meter = make("div", { className: "meter", role: "progressbar", ariaLabel: "Trim", ariaValueMin: "0", ariaValueMax: "100" }, make("div", { className: "fill" }));
    const stop = make("button", { type: "button", className: "act", textContent: "Cancel" });
    const work = make("div", { className: "trimming", hidden: true }, meter, stop);
    const connection = new AbortController();
    stop.onclick = () => box.close();
    saved.onclick = async () => {
      saved.hidden = start.disabled = end.disabled = true;
      work.hidden = false;
      video.pause();
      stop.focus();
      const [start_s, end_s] = part();
      const problem = await eventsOf("library/trim", { item: Number(item), start_s, end_s }, connection.signal, (/** @type {number} */ done) => {
        meter.style.setProperty("--done", `${100 * done}%`);
        meter.setAttribute("aria-valuenow", String(Math.round(100 * done)));
      });
      if (connection.signal.aborted) return toast("Cancelled. Nothing was saved.");
      if (problem) {
        saved.hidden = start.disabled = end.disabled = false;
        work.hidden = true;
        return toast(problem);
      }
      box.close();
      window.comfy.refreshStage();
      window.comfy.library?.refresh();
      toast("Saved as a new video");
    };
    const box = dialog("trim", "Trim", make("h2", { textContent: "Trim" }), video, range, make("div", { className: "acts" }, length, saved), work);
    box.addEventListener("close", () => connection.abort());
    end.focus();
  }

  window.comfy.actions.trim = (button) => trim(button.dataset.item);
  Object.assign(window.comfy, { withStrip, soundPlayer, turntable });
})();
