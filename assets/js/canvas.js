// @ts-check
// The canvas: paint a mask or a sketch over an image, or drag a frame to extend it.
//
// Strokes are kept as points (canvas_drawing.js) and drawn at the size of the screen, so that a stroke
// costs the same on an image of 4096 pixels. Only "Done" draws them at the image's own size.
"use strict";
(() => {
  const { $, $$, make, dialog, setField, toast, load, save } = window.comfy.kit;
  const { Drawing, read, extend, draw, outlines, snap, frameOf, STEP } = globalThis.comfyDrawing;
  const { sendFile } = window.comfy.workflows;
  const KEPT = "comfy-ui.canvas"; // a drawing that was closed without "Done"
  const INK = "#e0267d";
  const MOST = 2048; // pixels that a side is extended by, unless the form's field says otherwise
  const PALM_PX = 60; // the contact of a finger is smaller
  const SETTLE_MS = 60;
  const SIDES = /** @type {const} */ (["left", "top", "right", "bottom"]);
  const COLORS = ["#1c1c1c", "#ffffff", "#d93a2b", "#f08c1e", "#f2cf3a", "#3c9b4f", "#2f7fd6", "#8b4fc4", "#e58fb0", "#8a5a3a"];
  const PATHS = {
    brush: "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3",
    erase: "M9 19h11M5 14l8-8 6 6-7 7H9z",
    lasso: "M12 5c5 0 8 2 8 5s-3 5-8 5-8-2-8-5 3-5 8-5M8 14c-2 1-2 4 0 5",
    select: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M9 12h6M12 9v6",
    undo: "M9 6 5 10l4 4M5 10h9a5 5 0 0 1 0 10h-3",
    redo: "M15 6l4 4-4 4M19 10h-9a5 5 0 0 0 0 10h3",
    mask: "M4 5h16v14H4zM8 12a4 4 0 1 0 8 0 4 4 0 1 0-8 0",
    frame: "M8 8h8v8H8zM3 7V3h4M17 3h4v4M21 17v4h-4M7 21H3v-4",
    sketch: "M4 17c3-8 5-8 6-3s3 4 4-1 3-5 6-1",
  };
  /** @param {string} name */
  const icon = (name) => `<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d="${PATHS[name]}"/></svg>`;
  const form = () => $("form.settings");
  const imageFields = () => $$("form.settings .upload[data-upload-kind=image]");
  const maskField = () => $("form.settings .upload[data-upload-kind=mask] input[type=hidden]");
  /** @param {string} side */
  const sideField = (side) => $(`form.settings .field[data-role=outpaint_${side}] input[type=number]`);
  /** @param {string} name @param {string} layer */
  const layerUrl = (name, layer) => `uploads/${encodeURIComponent(name)}?layer=${layer}`;

  // ---- open ----------------------------------------------------------------------------------------

  /** The decoded layers of an upload, or null if it is gone. @param {string} name */
  async function layersOf(name) {
    const [picture, mask] = ["picture", "mask"].map((layer) => make("img", { src: layerUrl(name, layer), alt: "", draggable: false }));
    try {
      await Promise.all([picture.decode(), mask.decode()]);
    } catch {
      return null;
    }
    return { picture, mask };
  }
  /** @param {string} name */
  async function keptStrokes(name) {
    const kept = load(KEPT, null);
    if (kept?.name === name) return read(kept.drawing);
    const answer = await fetch(layerUrl(name, "strokes")).catch(() => null);
    return answer?.ok ? read(await answer.json().catch(() => null)) : null;
  }
  /**
   * Opens the image of an upload field.
   * @param {AnyElement} upload
   * @param {string} [first] the mode to begin with
   */
  async function open(upload, first) {
    const field = $("input[type=hidden]", upload);
    const name = field.value;
    let strokes = await keptStrokes(name);
    let base = strokes?.base || name;
    let layers = await layersOf(base);
    if (!layers && strokes) {
      // The image below the strokes was deleted after a month: the painted one is left.
      [strokes, base] = [null, name];
      layers = await layersOf(name);
    }
    if (!layers) return toast("Choose the image again");
    if (!$("#canvas")) show({ field: field.name, opened: name, base, drawing: strokes?.drawing ?? new Drawing(), ...layers, first });
  }
  /** A white image of the form's size to draw on. @param {AnyElement} button */
  async function openBlank(button) {
    const sizes = ["width", "height"].map((role) => Number($(`form.settings .field.${role} input`)?.value) || 1024);
    const sheet = make("canvas", { width: sizes[0], height: sizes[1] });
    const pen = sheet.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, sheet.width, sheet.height);
    const upload = button.closest(".upload");
    const sent = await sendFile("uploads", await png(sheet), { role: "image" });
    if (sent.error) return toast(sent.error);
    fill($("input[type=hidden]", upload).name, sent.name, "Sketch");
    open(upload, "sketch");
  }
  /** @param {AnyElement} sheet @returns {Promise<Blob>} */
  async function png(sheet) {
    const blob = await new Promise((ready) => sheet.toBlob(ready, "image/png"));
    if (!blob) throw new Error("The image is too large for this browser.");
    return blob;
  }
  /** Puts an upload into a field of the form. @param {string} name @param {string} value @param {string} label */
  function fill(name, value, label) {
    setField(name, value);
    const upload = form()?.elements[name]?.closest(".upload");
    if (!upload) return;
    $(".upload-name", upload).textContent = label;
    upload.classList.add("filled");
    upload.classList.remove("failed");
    window.comfy.translate(upload);
  }
  /** Chooses a preset that can do what was painted, and waits for its form. @param {string} preset */
  function choose(preset) {
    const shown = new Promise((ready, failed) => {
      awaited = { preset, ready };
      setTimeout(() => failed(new Error("Connection lost. Try again.")), 30_000);
    });
    $("#picker .island, #picker.island").comfyTrigger("choose", { preset, draft: window.comfy.current() });
    return shown;
  }
  /** The form that `choose` waits for. @type {{ preset: string, ready: (value?: unknown) => void } | null} */
  let awaited = null;
  let editing = 0; // until when the next form with an image opens the canvas: "Edit" was pressed
  window.comfy.onIsland((element) => {
    if (!element.contains(form())) return;
    if (awaited && form().dataset.preset === awaited.preset) awaited.ready();
    const upload = imageFields().find((one) => one.classList.contains("filled"));
    if (editing > Date.now() && upload) {
      editing = 0;
      open(upload);
    }
  });
  document.addEventListener("click", (/** @type {On<MouseEvent>} */ event) => {
    if (event.target.closest?.("[data-what=edit]")) editing = Date.now() + 30_000;
  }, true);
  Object.assign(window.comfy.actions, {
    "open-canvas"(button) {
      const own = button.closest(".upload[data-upload-kind=image]") ?? imageFields()[0];
      if (own?.classList.contains("filled")) return open(own);
      toast("Choose an image first");
    },
    "draw-image": openBlank,
  });

  // ---- the dialog ----------------------------------------------------------------------------------

  /** @param {AnyElement} start what to paint on, see `open` */
  function show({ field, opened, base, drawing, picture, mask, first }) {
    const image = { width: picture.naturalWidth, height: picture.naturalHeight, ink: INK };
    const owns = { mask: Boolean($("form.settings [data-paints=mask]") || maskField()), frame: Boolean(sideField("left")) };
    const modes = [
      { id: "mask", label: "Mask", here: owns.mask || form().dataset.inpaint },
      { id: "frame", label: "Extend", here: owns.frame || form().dataset.outpaint },
      { id: "sketch", label: "Sketch", here: true },
    ].filter((one) => one.here);
    let mode = first ?? (owns.mask ? "mask" : owns.frame ? "frame" : modes[0].id);
    let tool = "brush";
    let color = COLORS[2];
    const size = { mask: Math.max(8, Math.round(Math.max(image.width, image.height) / 14)), sketch: Math.max(4, Math.round(Math.max(image.width, image.height) / 60)) };
    const sides = Object.fromEntries(SIDES.map((side) => [side, owns.frame ? Number(sideField(side)?.value) || 0 : 0]));
    const most = (side) => Number(sideField(side)?.max) || MOST;
    let dirty = false;

    // -- the stage: the image, a canvas for each layer, the frame, the ring of the brush
    const layers = { sketch: make("canvas"), mask: make("canvas") };
    layers.mask.className = "mask";
    const clip = make("div", { className: "layers" }, layers.sketch, layers.mask);
    const outline = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    outline.innerHTML = "<polyline/>";
    outline.setAttribute("class", "outline");
    const ring = make("div", { className: "ring", hidden: true });
    const added = make("div", { className: "frame-area" });
    const frame = make("div", { className: "frame-box" });
    const stage = make("div", { className: "canvas-stage", tabIndex: -1, role: "group" }, added, picture, clip, outline, frame, ring);
    picture.className = "base";
    let view = { scale: 1, x: 0, y: 0 };
    let drawn = { ...view }; // the view that the layers were drawn for
    let space = { left: 0, top: 0, width: 1, height: 1 };
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let settling;

    const density = () => Math.min(devicePixelRatio || 1, 2);
    function pen(layer) {
      const context = layers[layer].getContext("2d");
      const by = density();
      context.setTransform(by * drawn.scale, 0, 0, by * drawn.scale, by * drawn.x, by * drawn.y);
      return context;
    }
    /** Draws a layer as it is now. @param {AnyElement} context @param {string} layer @param {string} ink */
    function drawLayer(context, layer, ink) {
      if (layer === "mask") {
        context.globalCompositeOperation = "source-over";
        context.drawImage(mask, 0, 0);
        context.globalCompositeOperation = "source-in"; // the mask of the file is white
        context.fillStyle = ink;
        context.fillRect(0, 0, image.width, image.height);
      }
      for (const op of drawing.ops) if (op.layer === layer) draw(context, op, { ...image, ink });
    }
    function settle() {
      clearTimeout(settling);
      settling = undefined;
      drawn = { ...view };
      for (const [layer, canvas] of Object.entries(layers)) {
        const wanted = [Math.round(space.width * density()), Math.round(space.height * density())];
        if (canvas.width !== wanted[0] || canvas.height !== wanted[1]) [canvas.width, canvas.height] = wanted;
        const context = canvas.getContext("2d");
        context.setTransform(1, 0, 0, 1, 0, 0);
        context.clearRect(0, 0, canvas.width, canvas.height);
        drawLayer(pen(layer), layer, INK);
        canvas.style.transform = "none";
      }
      layers.mask.style.filter = drawing.feather ? `blur(${drawing.feather * view.scale}px)` : "none";
    }
    /** Shows the view at once by moving what is drawn; the layers are drawn again when it rests. */
    function look() {
      const { scale, x, y } = view;
      picture.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
      picture.style.imageRendering = scale > 3 ? "pixelated" : "auto";
      const by = scale / drawn.scale;
      for (const canvas of Object.values(layers)) canvas.style.transform = `translate(${x - drawn.x * by}px, ${y - drawn.y * by}px) scale(${by})`;
      const [right, bottom] = [space.width - x - image.width * scale, space.height - y - image.height * scale];
      clip.style.clipPath = `inset(${Math.max(0, y)}px ${Math.max(0, right)}px ${Math.max(0, bottom)}px ${Math.max(0, x)}px)`;
      percent.textContent = `${Math.round(scale * 100)}%`;
      frameShown();
      clearTimeout(settling);
      settling = setTimeout(settle, SETTLE_MS);
    }
    function fit() {
      const outer = mode === "frame" ? sides : { left: 0, top: 0, right: 0, bottom: 0 };
      const [width, height] = [image.width + outer.left + outer.right, image.height + outer.top + outer.bottom];
      const margin = mode === "frame" ? 44 : 16;
      const scale = Math.max(0.01, Math.min((space.width - 2 * margin) / width, (space.height - 2 * margin) / height, 8));
      view = { scale, x: (space.width - width * scale) / 2 + outer.left * scale, y: (space.height - height * scale) / 2 + outer.top * scale };
      look();
    }
    function zoomAt(factor, at = { x: space.width / 2, y: space.height / 2 }) {
      const scale = Math.min(Math.max(view.scale * factor, 0.02), 32);
      const by = scale / view.scale;
      view = { scale, x: at.x - (at.x - view.x) * by, y: at.y - (at.y - view.y) * by };
      look();
    }

    // -- strokes
    /** The stroke that is being drawn, and its pointer. @type {{ id: number, op: CanvasOp } | null} */
    let stroke = null;
    /** @type {{ id: number, x: number, y: number } | null} */
    let pan = null;
    /** Fingers on the stage. @type {Map<number, { x: number, y: number }>} */
    const fingers = new Map();
    let penSeen = false; // with a pen, fingers move the image and a palm does nothing
    let spaceHeld = false;

    /** A point of the stage. @param {{ clientX: number, clientY: number }} event */
    const point = ({ clientX, clientY }) => ({ x: clientX - space.left, y: clientY - space.top });
    /** @param {PointerEvent} event */
    function begin(event) {
      if (settling) settle();
      if (selects()) {
        const { x, y } = point(event);
        return void select({ points: [[Math.floor((x - view.x) / view.scale), Math.floor((y - view.y) / view.scale)]] });
      }
      const kind = event.buttons & 32 ? "erase" : tool; // the other end of a pen
      stroke = { id: event.pointerId, op: { kind, layer: mode, color, size: size[mode], points: [] } };
      gain([event]);
    }
    /** @param {PointerEvent[]} events */
    function gain(events) {
      if (!stroke) return;
      const { op } = stroke;
      const before = (op.points?.length ?? 0) / 2;
      for (const event of events) {
        const { x, y } = point(event);
        const width = event.pointerType === "pen" && op.kind !== "lasso" ? 0.25 + 0.75 * event.pressure : undefined;
        extend(op, (x - view.x) / view.scale, (y - view.y) / view.scale, { scale: view.scale, width });
      }
      if (op.kind === "lasso") outlineShown(op.points ?? []);
      else if ((op.points?.length ?? 0) / 2 > before) draw(pen(op.layer), op, image, before - 1);
    }
    function outlineShown(points) {
      const onStage = points.map((value, at) => value * view.scale + (at % 2 ? view.y : view.x));
      outline.firstElementChild?.setAttribute("points", onStage.join(" "));
    }
    function finish() {
      if (!stroke) return;
      const { op } = stroke;
      stroke = null;
      outlineShown([]);
      if (op.kind === "lasso" && (op.points?.length ?? 0) < 6) return;
      change(op);
    }
    function abort() {
      if (!stroke) return;
      stroke = null;
      outlineShown([]);
      settle();
    }
    /** @param {CanvasOp} op */
    function change(op) {
      drawing.add(op);
      dirty = true;
      if (op.kind === "brush" || op.kind === "erase") buttons(); // it is drawn already
      else redrawn();
    }
    // -- selecting by words or by a click: the server's mask becomes an area
    const selects = () => tool === "select" && mode === "mask";
    /** @type {AbortController | null} */
    let selecting = null;
    /** @param {{ text?: string, points?: number[][] }} what */
    async function select(what) {
      if (selecting) return selecting.abort();
      const inside = (/** @type {number[]} */ [x, y]) => x >= 0 && y >= 0 && x < image.width && y < image.height;
      if (!what.points?.every(inside) && !what.text?.trim()) return;
      const { signal } = (selecting = new AbortController());
      trouble.textContent = "";
      buttons();
      try {
        const answer = await fetch("create/segment", { method: "POST", signal, body: JSON.stringify({ image: base, ...what }), headers: { "Content-Type": "application/json" } });
        if (!answer.ok) throw new Error((await answer.json()).error);
        const found = await createImageBitmap(await answer.blob());
        const by = Math.min(1, 1024 / Math.max(found.width, found.height));
        const sheet = make("canvas", { width: Math.round(found.width * by), height: Math.round(found.height * by) });
        const context = sheet.getContext("2d", { willReadFrequently: true });
        context.drawImage(found, 0, 0, sheet.width, sheet.height);
        const loops = outlines(context.getImageData(0, 0, sheet.width, sheet.height), image.width / sheet.width);
        if (!loops.length) throw new Error("Nothing was found there.");
        change({ kind: "area", layer: "mask", color, loops });
      } catch (error) {
        if (!signal.aborted) trouble.textContent = error instanceof Error ? error.message : String(error);
      } finally {
        selecting = null;
        buttons();
      }
    }

    function redrawn() {
      settle();
      buttons();
    }
    const undo = () => mode !== "frame" && (drawing.undo(), (dirty = true), redrawn());
    const redo = () => mode !== "frame" && (drawing.redo(), (dirty = true), redrawn());
    const whole = (kind) => mode !== "frame" && change({ kind, layer: mode, color });

    stage.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      if (/** @type {Element} */ (event.target).closest("[role=slider], .corner")) return;
      event.preventDefault();
      stage.focus({ preventScroll: true });
      const at = point(event);
      if (event.pointerType === "pen") penSeen = true;
      if (event.pointerType === "touch") {
        if (Math.max(event.width, event.height) > PALM_PX || (stroke && penSeen)) return; // a palm
        fingers.set(event.pointerId, at);
        if (fingers.size > 1) return abort(), (pan = null); // two fingers move the image
      }
      stage.setPointerCapture(event.pointerId);
      const moves = event.button === 1 || spaceHeld || mode === "frame" || (event.pointerType === "touch" && penSeen);
      if (moves) pan = { id: event.pointerId, ...at };
      else if (event.button === 0 || event.buttons & 32) begin(event);
    });
    stage.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
      const at = point(event);
      ringShown(event, at);
      if (stroke?.id === event.pointerId) return gain(event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]);
      const before = fingers.get(event.pointerId);
      if (before && fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1] ?? before;
        fingers.set(event.pointerId, at);
        const distance = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1;
        view = { ...view, x: view.x + (at.x - before.x) / 2, y: view.y + (at.y - before.y) / 2 };
        zoomAt(distance(at) / distance(before), { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 });
      } else if (pan?.id === event.pointerId) {
        view = { ...view, x: view.x + at.x - pan.x, y: view.y + at.y - pan.y };
        pan = { id: event.pointerId, ...at };
        look();
      }
    });
    for (const ended of ["pointerup", "pointercancel"]) {
      stage.addEventListener(ended, (/** @type {PointerEvent} */ event) => {
        fingers.delete(event.pointerId);
        if (pan?.id === event.pointerId) pan = null;
        if (stroke?.id !== event.pointerId) return;
        if (ended === "pointerup") finish();
        else abort();
      });
    }
    stage.addEventListener("pointerleave", () => (ring.hidden = true));
    stage.addEventListener("wheel", (/** @type {WheelEvent} */ event) => {
      event.preventDefault();
      zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), point(event));
    }, { passive: false });
    function ringShown(event, { x, y }) {
      ring.hidden = mode === "frame" || tool === "lasso" || selects() || (event.pointerType === "touch" && !stroke);
      if (ring.hidden) return;
      const across = Math.max(4, size[mode] * view.scale);
      ring.style.cssText = `width: ${across}px; height: ${across}px; transform: translate(${x - across / 2}px, ${y - across / 2}px)`;
    }

    // -- the frame
    for (const side of SIDES) {
      const edge = make("div", { className: `edge ${side}`, tabIndex: 0, role: "slider", ariaLabel: `Extend ${side}`, ariaValueMin: 0 }, make("span"));
      edge.setAttribute("aria-orientation", side === "left" || side === "right" ? "horizontal" : "vertical");
      edge.onkeydown = (/** @type {KeyboardEvent} */ event) => {
        const out = { left: "ArrowLeft", top: "ArrowUp", right: "ArrowRight", bottom: "ArrowDown" }[side];
        const into = { left: "ArrowRight", top: "ArrowDown", right: "ArrowLeft", bottom: "ArrowUp" }[side];
        const by = { [out]: STEP, [into]: -STEP, PageUp: 8 * STEP, PageDown: -8 * STEP, Home: -sides[side] }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        setSides({ [side]: sides[side] + by });
      };
      dragged(edge, [side]);
      frame.append(edge);
    }
    for (const corner of [["left", "top"], ["right", "top"], ["left", "bottom"], ["right", "bottom"]]) {
      const handle = make("div", { className: `corner ${corner.join(" ")}` });
      dragged(handle, corner);
      frame.append(handle);
    }
    /** Lets a handle drag sides of the frame. @param {AnyElement} handle @param {string[]} names */
    function dragged(handle, names) {
      /** @type {{ x: number, y: number, sides: Record<string, number> } | null} */
      let from = null;
      handle.onpointerdown = (event) => {
        event.preventDefault();
        handle.focus();
        handle.setPointerCapture(event.pointerId);
        from = { x: event.clientX, y: event.clientY, sides: { ...sides } };
      };
      handle.onpointermove = (event) => {
        if (!from) return;
        const by = { left: from.x - event.clientX, right: event.clientX - from.x, top: from.y - event.clientY, bottom: event.clientY - from.y };
        const start = from.sides;
        setSides(Object.fromEntries(names.map((side) => [side, start[side] + by[side] / view.scale])));
      };
      handle.onpointerup = handle.onpointercancel = () => {
        if (from) fit();
        from = null;
      };
    }
    function setSides(changes) {
      for (const [side, pixels] of Object.entries(changes)) sides[side] = snap(pixels, most(side));
      dirty = true;
      frameShown();
    }
    function frameShown() {
      const { scale, x, y } = view;
      const [width, height] = [image.width + sides.left + sides.right, image.height + sides.top + sides.bottom];
      frame.style.cssText = added.style.cssText = `left: ${x - sides.left * scale}px; top: ${y - sides.top * scale}px; width: ${width * scale}px; height: ${height * scale}px`;
      for (const side of SIDES) {
        const edge = $(`.edge.${side}`, frame);
        edge.ariaValueMax = most(side);
        edge.ariaValueNow = sides[side];
        edge.firstElementChild.textContent = sides[side] ? `+${sides[side]}` : "";
        if (document.activeElement !== numbers[side]) numbers[side].value = sides[side];
      }
      sized.textContent = `${width} × ${height}`;
    }

    // -- the bars
    const key = (text) => make("kbd", { textContent: text, translate: false });
    /** @param {string} name @param {string} label @param {string} shortcut @param {() => void} onclick */
    function button(name, label, shortcut, onclick, className = "act") {
      const made = make("button", { type: "button", className, innerHTML: PATHS[name] ? icon(name) : "", onclick });
      made.append(make("span", { textContent: label }));
      if (shortcut) {
        made.append(key(shortcut));
        made.setAttribute("aria-keyshortcuts", shortcut);
      }
      return made;
    }
    const iconButton = (html, label, shortcut, onclick) => {
      const made = make("button", { type: "button", className: "tool", innerHTML: html, ariaLabel: label, title: label, onclick });
      made.setAttribute("aria-keyshortcuts", shortcut);
      return made;
    };
    const tabs = modes.map((one) => {
      const tab = button(one.id, one.label, "", () => turn(one.id), "act mode");
      tab.dataset.mode = one.id;
      return tab;
    });
    const undoButton = iconButton(icon("undo"), "Undo", "Control+Z", undo);
    const redoButton = iconButton(icon("redo"), "Redo", "Control+Shift+Z", redo);
    const percent = make("button", { type: "button", className: "tool percent", title: "Fit the window", onclick: fit });
    const doneButton = make("button", { type: "button", className: "act primary", textContent: "Done", onclick: done });
    const canSelect = Boolean(form().dataset.selects);
    const tools = ["brush", "erase", "lasso", ...(canSelect ? ["select"] : [])].map((name) => {
      const label = { brush: "Brush", erase: "Eraser", lasso: "Lasso", select: "Select" }[name] ?? "";
      const made = button(name, label, label[0], () => pick(name));
      made.dataset.tool = name;
      return made;
    });
    const slider = (label, min, max) => make("input", { type: "range", min, max, ariaLabel: label });
    const sizeSlider = slider("Brush size", 1, 100);
    const featherSlider = slider("Soft edge", 0, 64);
    // Small sizes are set as finely as large ones.
    const largest = Math.max(image.width, image.height) / 3;
    sizeSlider.oninput = () => resize(Math.max(1, Math.round(largest ** (sizeSlider.value / 100))));
    featherSlider.oninput = () => {
      drawing.feather = Number(featherSlider.value);
      dirty = true;
      layers.mask.style.filter = drawing.feather ? `blur(${drawing.feather * view.scale}px)` : "none";
      buttons();
    };
    const labeled = (text, input, className) => make("label", { className: `canvas-slider ${className}` }, make("span", { textContent: text }), input, make("output"));
    const swatches = COLORS.map((one) => {
      const made = make("button", { type: "button", className: "swatch", ariaLabel: `Color ${one}`, title: one, onclick: () => paintWith(one) });
      made.style.setProperty("--color", one);
      made.dataset.color = one;
      return made;
    });
    const ownColor = make("input", { type: "color", value: color, ariaLabel: "Another color", oninput: () => paintWith(ownColor.value) });
    const numbers = Object.fromEntries(SIDES.map((side) => {
      const input = make("input", { type: "number", min: 0, max: MOST, step: STEP, inputMode: "numeric" });
      input.onchange = () => (setSides({ [side]: Number(input.value) || 0 }), (input.value = String(sides[side])), fit());
      return [side, input];
    }));
    const sized = make("output", { className: "quiet" });
    const shape = (label, ratio) => make("button", { type: "button", className: "act", textContent: label, onclick: () => (setSides(frameOf(ratio, image, MOST)), fit()) });
    const around = make("button", { type: "button", className: "act", textContent: "All sides", onclick: () => {
      setSides(Object.fromEntries(SIDES.map((side) => [side, sides[side] + Math.max(image.width, image.height) / 8])));
      fit();
    } });
    const reset = make("button", { type: "button", className: "act", textContent: "Reset", onclick: () => (setSides({ left: 0, top: 0, right: 0, bottom: 0 }), fit()) });
    const wanted = make("input", { type: "text", placeholder: "What to select, or click on it", ariaLabel: "What to select", maxLength: 200 });
    wanted.onkeydown = (/** @type {KeyboardEvent} */ event) => void (event.key === "Enter" && (event.preventDefault(), select({ text: wanted.value })));
    const selectButton = make("button", { type: "button", className: "act", onclick: () => select({ text: wanted.value }) });
    const asking = make("div", { className: "canvas-tools canvas-select" }, wanted, selectButton);
    const painting = make("div", { className: "canvas-tools painting-tools" },
      make("div", { className: "acts", role: "group", ariaLabel: "Tools" }, ...tools),
      make("div", { className: "swatches", role: "group", ariaLabel: "Color" }, ...swatches, ownColor),
      labeled("Size", sizeSlider, "size"), labeled("Soft edge", featherSlider, "feather"),
      make("div", { className: "acts", role: "group", ariaLabel: "Whole layer" },
        button("", "Invert", "I", () => whole("invert"), "act invert"), button("", "Fill", "F", () => whole("fill")), button("", "Clear", "C", () => whole("clear"))),
    );
    const framing = make("div", { className: "canvas-tools framing-tools" },
      make("div", { className: "acts" }, around, shape("Square", 1), shape("16:9", 16 / 9), shape("9:16", 9 / 16), reset),
      make("div", { className: "sides" }, ...SIDES.map((side) => make("label", {}, make("span", { textContent: { left: "Left", top: "Top", right: "Right", bottom: "Bottom" }[side] }), numbers[side]))), sized,
    );
    const hint = (shortcut, text, className = "") => make("span", { className }, key(shortcut), make("span", { textContent: text }));
    const keys = make("p", { className: "canvas-keys quiet" }, hint("[ ]", "Brush size", "of-brush"), hint("Ctrl Z", "Undo", "of-brush"), hint("Wheel", "Zoom"), hint("Space", "Hold to move the image"), hint("0", "Fit the window"));
    const trouble = make("p", { className: "trouble", role: "alert" });
    const box = dialog("canvas", "Edit image",
      make("div", { className: "canvas-top" }, make("div", { className: "modes", role: "group", ariaLabel: "What to paint" }, ...tabs),
        make("div", { className: "canvas-history" }, undoButton, redoButton, iconButton("−", "Zoom out", "-", () => zoomAt(0.8)), percent, iconButton("+", "Zoom in", "+", () => zoomAt(1.25)))),
      stage, asking, painting, framing, make("div", { className: "canvas-foot" }, keys, trouble, doneButton),
    );
    box.onclick = null; // a stroke that ends outside must not close it

    function buttons() {
      undoButton.disabled = mode === "frame" || !drawing.canUndo;
      redoButton.disabled = mode === "frame" || !drawing.canRedo;
      const layer = mode === "frame" ? "mask" : mode;
      box.dataset.mode = mode;
      box.dataset.tool = selects() ? "select" : "";
      selectButton.textContent = selecting ? "Stop" : "Select area";
      stage.ariaBusy = String(Boolean(selecting));
      for (const tab of tabs) tab.ariaPressed = String(tab.dataset.mode === mode);
      for (const one of tools) one.ariaPressed = String(one.dataset.tool === tool);
      for (const one of swatches) one.ariaPressed = String(one.dataset.color === color);
      sizeSlider.value = String(Math.round((100 * Math.log(size[layer])) / Math.log(largest)) || 1);
      featherSlider.value = String(drawing.feather);
      for (const [input, value] of [[sizeSlider, size[layer]], [featherSlider, drawing.feather]]) {
        input.nextElementSibling.textContent = `${value} px`;
        input.style.setProperty("--part", `${(100 * (input.value - input.min)) / (input.max - input.min)}%`);
      }
      stage.ariaLabel = `Image, ${image.width} × ${image.height}`;
    }
    function turn(next) {
      abort();
      mode = next;
      if (next === "frame" && !SIDES.some((side) => sides[side])) setSides({ left: image.width / 4, right: image.width / 4 });
      buttons();
      fit();
    }
    const pick = (name) => ((tool = name), buttons());
    const paintWith = (next) => ((color = next), (ownColor.value = next), tool === "erase" && (tool = "brush"), buttons());
    const resize = (pixels) => mode !== "frame" && ((size[mode] = Math.min(Math.max(Math.round(pixels), 1), Math.round(largest))), buttons());

    box.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
      if (event.target.matches("input[type=number], input[type=text]")) return;
      const letter = event.key.toLowerCase();
      if (event.ctrlKey || event.metaKey) {
        if (letter !== "z" && letter !== "y") return;
        event.preventDefault();
        letter === "y" || event.shiftKey ? redo() : undo();
        return;
      }
      if (event.key === "Escape" && stroke) return event.preventDefault(), abort();
      if (event.key === " " && !event.target.closest("button")) return event.preventDefault(), void (spaceHeld = true);
      const step = mode === "frame" ? 1 : Math.max(1, size[mode] * 0.15);
      const act = {
        b: () => pick("brush"), e: () => pick("erase"), l: () => pick("lasso"), s: () => canSelect && pick("select"),
        i: () => mode === "mask" && whole("invert"), f: () => whole("fill"), c: () => whole("clear"), delete: () => whole("clear"),
        "[": () => mode !== "frame" && resize(size[mode] - step), "]": () => mode !== "frame" && resize(size[mode] + step),
        "+": () => zoomAt(1.25), "=": () => zoomAt(1.25), "-": () => zoomAt(0.8), 0: fit,
      }[letter];
      if (!act || event.altKey) return;
      event.preventDefault();
      act();
    });
    box.addEventListener("keyup", (/** @type {KeyboardEvent} */ event) => event.key === " " && (spaceHeld = false));

    // -- keep, and hand over
    const keep = () => {
      const text = dirty && drawing.text(base);
      if (text) save(KEPT, { name: opened, drawing: JSON.parse(text) });
    };
    addEventListener("pagehide", keep);
    const resized = new ResizeObserver(() => {
      const { left, top, width, height } = stage.getBoundingClientRect();
      const first_ = space.width === 1;
      const same = space.width === width && space.height === height;
      space = { left, top, width, height };
      if (first_ || !same) fit();
      settle();
    });
    resized.observe(stage);
    box.addEventListener("close", () => {
      selecting?.abort();
      keep();
      removeEventListener("pagehide", keep);
      resized.disconnect();
    });

    /** A layer at the image's own size, as PNG. @param {string} layer */
    function sheetOf(layer) {
      const sheet = make("canvas", { width: image.width, height: image.height });
      const context = sheet.getContext("2d");
      drawLayer(context, layer, "#ffffff");
      if (layer === "mask") {
        context.globalCompositeOperation = "destination-over";
        context.fillStyle = "#000000";
        context.fillRect(0, 0, image.width, image.height);
      }
      return png(sheet);
    }
    const hadMask = (() => {
      const probe = make("canvas", { width: Math.min(image.width, 512), height: Math.min(image.height, 512) });
      const context = probe.getContext("2d", { willReadFrequently: true });
      context.drawImage(mask, 0, 0, probe.width, probe.height);
      return context.getImageData(0, 0, probe.width, probe.height).data.some((value, at) => at % 4 === 3 && value);
    })();
    /** Uploads what was painted. @returns {Promise<{ name: string, mask: string }>} */
    async function upload() {
      const masked = drawing.has("mask") || (hadMask && !drawing.ops.some((op) => op.layer === "mask" && op.kind === "clear"));
      const sketched = drawing.has("sketch");
      if (!masked && !sketched && !(hadMask && drawing.touches("mask"))) return { name: base, mask: "" };
      const data = new FormData();
      data.set("over", base);
      data.set("strokes", drawing.text(base));
      data.set("feather", String(drawing.feather));
      if (maskField()) data.set("separate", "true");
      if (masked) data.set("mask", await sheetOf("mask"), "mask.png");
      if (sketched) data.set("sketch", await sheetOf("sketch"), "sketch.png");
      const answer = await fetch("uploads/canvas", { method: "POST", body: data });
      const result = await answer.json();
      if (!answer.ok) throw new Error(result.error);
      return result;
    }
    async function done() {
      doneButton.disabled = true;
      trouble.textContent = "";
      try {
        const extended = SIDES.some((side) => sides[side]);
        const other = mode === "mask" && !owns.mask ? form().dataset.inpaint : mode === "frame" && !owns.frame && extended ? form().dataset.outpaint : "";
        if (other) await choose(other);
        const target = other ? $("input[type=hidden]", imageFields()[0]).name : field;
        const painted = await upload();
        const label = painted.name === base ? "Image without a mask" : drawing.has("mask") || hadMask ? "Image with a mask" : "Painted image";
        fill(target, painted.name, label);
        if (painted.mask) fill(maskField().name, painted.mask, "Painted mask");
        if (sideField("left")) for (const side of SIDES) setField(sideField(side).name, String(sides[side]));
        save(KEPT, null);
        dirty = false;
        box.close();
      } catch (error) {
        trouble.textContent = error instanceof Error ? error.message : String(error);
      } finally {
        doneButton.disabled = false;
      }
    }

    turn(mode);
    window.comfy.translate(box);
    stage.focus({ preventScroll: true });
  }
})();
