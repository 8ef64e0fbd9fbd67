// @ts-check
// The base of the page's scripts: HTML blocks inside Gradio, the form and its draft, dialogs, keys.
// Listeners are delegated from the document, because Gradio morphs the HTML under them.
"use strict";
// Addresses are relative to the page's folder, and a proxy may serve the page without the slash at its end.
if (!location.pathname.endsWith("/")) location.replace(`${location.pathname}/${location.search}${location.hash}`);
// The other scripts add the rest of ComfyPage.
window.comfy = /** @type {ComfyPage} */ (/** @type {unknown} */ ((() => {
  const DRAFT = "comfy-ui.draft";
  const PAST = "comfy-ui.prompts";
  const THEME = "comfy-ui.theme";
  const ADVANCED = "comfy-ui.advanced";
  /**
   * @param {string} selector
   * @param {ParentNode} [root]
   * @returns {AnyElement}
   */
  const $ = (selector, root = document) => root.querySelector(selector);
  /**
   * @param {string} selector
   * @param {ParentNode} [root]
   * @returns {AnyElement[]}
   */
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Browsers refuse storage in private windows and on full disks: values then last as long as the page.
  const memory = new Map();
  /**
   * @param {string} key
   * @param {any} fallback
   */
  function load(key, fallback) {
    try {
      return JSON.parse(localStorage.getItem(key) ?? "null") ?? memory.get(key) ?? fallback;
    } catch {
      return memory.get(key) ?? fallback;
    }
  }
  /**
   * @param {string} key
   * @param {unknown} value
   */
  function save(key, value) {
    memory.set(key, value);
    try {
      localStorage.setItem(key, JSON.stringify(value));
    } catch {
      /* kept in memory above */
    }
  }

  // ---- HTML blocks (web/components/html_block.py) -------------------------------------------------------------------------------

  /** Called after a block is drawn. @type {((element: AnyElement) => void)[]} */
  const drawn = [() => planEngine(), () => leaveDemo()];
  /** @param {AnyElement} element */
  function announce(element) {
    for (const callback of drawn) callback(element);
  }
  /**
   * @param {AnyElement} element
   * @param {(event: string, data: unknown) => void} trigger
   * @param {(name: string, then: () => void) => void} watch
   */
  function island(element, trigger, watch) {
    element.comfyTrigger = trigger;
    element.classList.add("island");
    const onDrawn = () => {
      // Morphing sets attributes; typed values stay in the properties until a reset.
      $("form.settings", element)?.reset();
      if (element.contains($("form.settings"))) formDrawn();
      announce(element);
    };
    watch("value", () => queueMicrotask(onDrawn));
    onDrawn();
  }
  function send(source, event, data) {
    source.closest(".island")?.comfyTrigger(event, data);
  }

  // ---- form and drafts -----------------------------------------------------------------------

  const form = () => $("form.settings");
  const promptBox = () => $("#prompt textarea");

  function values() {
    /** @type {Record<string, unknown>} */
    const byName = {};
    for (const field of form()?.elements ?? []) {
      if (!field.name) continue;
      if (field.type === "checkbox") byName[field.name] = field.checked;
      else if (field.type === "number") byName[field.name] = field.value === "" ? null : Number(field.value);
      else byName[field.name] = field.value;
    }
    return byName;
  }
  const saved = load(DRAFT, {});
  const linked = () => new URLSearchParams(location.search).get("preset");
  // A link to another form than the draft's opens an empty form; the draft's prompt goes to the history.
  const opening = !linked() || linked() === saved.preset ? saved : { preset: linked() };

  /** The form as it is now; until it is drawn, what the page opens with. */
  function current() {
    return {
      preset: form() ? form().dataset.preset : opening.preset,
      prompt: promptBox()?.value ?? opening.prompt ?? "",
      values: form() ? values() : opening.values ?? {},
    };
  }
  const saveDraft = () => promptBox() && save(DRAFT, current());
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let saving;
  function keep() {
    clearTimeout(saving);
    saving = setTimeout(saveDraft, 250);
  }
  addEventListener("pagehide", saveDraft);

  const smooth = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");
  const shownJob = () => $("#stage .stage")?.dataset.job ?? "";

  function formDrawn() {
    const advanced = $("form.settings .advanced");
    if (advanced) advanced.open = load(ADVANCED, false);
    sizeShown();
    paintSliders();
    ownPrompt();
    // The address names the linked form until another one is shown.
    if (linked() && linked() !== form().dataset.preset) {
      const address = new URL(location.href);
      address.searchParams.delete("preset");
      history.replaceState(history.state, "", address);
    }
    keep();
  }
  function setField(name, value) {
    const field = form()?.elements[name];
    if (!field) return;
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
  /** The names of the form's width and height, if it has both. @returns {string[]} */
  function sizeNames() {
    const size = $("form.settings .field.size"); // the form editor shows one, too
    return size ? [size.dataset.width, size.dataset.height] : [];
  }
  function sizeShown() {
    const names = sizeNames();
    if (!names.length) return;
    const [w, h] = names.map((name) => Number(form().elements[name].value));
    $("form.settings .size-now").textContent = `${w} × ${h}`;
    for (const shape of $$("form.settings .shape")) {
      const [a, b] = [Number(shape.dataset.w), Number(shape.dataset.h)];
      shape.setAttribute("aria-pressed", String((a === w && b === h) || (a === h && b === w && a !== b && !offers(w, h))));
      const turned = shape.getAttribute("aria-pressed") === "true" && !(a === w && b === h);
      shape.classList.toggle("turned", turned);
    }
  }
  const offers = (w, h) => $$("form.settings .shape").some((s) => Number(s.dataset.w) === w && Number(s.dataset.h) === h);

  function lastSeed() {
    return ($("#opened-result .seed") ?? $("#stage .seed"))?.textContent.replace(/\D/g, "") || $("#results .thumb[data-seed]")?.dataset.seed;
  }

  /** Once the managed ComfyUI serves this page, the note about demo images goes. */
  function leaveDemo() {
    const note = $("#engine [data-in-use]") && $("#banner .banner");
    if (!note) return;
    note.remove();
    $("#server .island, #server.island")?.comfyTrigger("refresh", {});
  }
  /** The node pack to plan in Status; "" for ComfyUI itself. @type {string | null} */
  let planned = null;
  function planEngine() {
    const panel = planned !== null && $("#engine .panel");
    if (!panel) return;
    panel.scrollIntoView({ block: "nearest" });
    if (planned) panel.closest(".island").comfyTrigger("plan", { pack: planned });
    else $("button[data-send=plan]", panel)?.click();
    planned = null;
  }
  /** @param {string} pack */
  function openPlan(pack) {
    $("#tabs button[role=tab][data-tab-id=status]")?.click();
    planned = pack; // Gradio draws the tab when it is opened first
    planEngine();
  }
  const actions = {
    "set-up-engine"() {
      openPlan("");
    },
    "add-pack"(button) {
      openPlan(button.dataset.pack);
    },
    theme() {
      const dark = document.body.classList.toggle("dark");
      save(THEME, dark ? "dark" : "light");
    },
    keys() {
      showKeys();
    },
    "random-seed"(button) {
      const field = $("input", button.parentElement);
      setField(field.name, "");
    },
    "last-seed"(button) {
      const seed = lastSeed();
      if (seed) setField($("input", button.parentElement).name, seed);
      else flash(button, "No result yet");
    },
    "swap-size"() {
      const [width, height] = sizeNames();
      const [w, h] = [form().elements[width].value, form().elements[height].value];
      setField(width, h);
      setField(height, w);
    },
    shape(button) {
      const [width, height] = sizeNames();
      setField(width, button.dataset.w);
      setField(height, button.dataset.h);
    },
    help(button) {
      const text = $(".help", button.closest(".field"));
      text.hidden = !text.hidden;
      button.setAttribute("aria-expanded", String(!text.hidden));
    },
  };

  // ---- prompt and its history ----------------------------------------------------------------

  function fillPrompt(text) {
    const box = promptBox();
    box.value = text;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  }
  function setPrompt(text) {
    if (!promptBox()) return;
    remember(promptBox().value);
    fillPrompt(text);
  }
  // The page restores the draft's prompt as soon as the box exists, not with the form: the user may
  // be typing by then.
  function restorePrompt() {
    if (!promptBox()) return;
    restoring.disconnect();
    const prompt = String(saved.prompt ?? "");
    if (opening !== saved) remember(prompt);
    else if (prompt) fillPrompt(prompt);
  }
  const restoring = new MutationObserver(restorePrompt);
  restoring.observe(document, { childList: true, subtree: true });
  /** The preset that was drawn last, and its own prompt. */
  let last = { preset: saved.preset, prompt: "" };
  /** A preset's own prompt fills an empty box and leaves with the preset; the user's prompt stays. */
  function ownPrompt() {
    const { preset, ownPrompt: prompt = "" } = form().dataset;
    const before = last;
    last = { preset, prompt };
    const text = promptBox().value.trim();
    if (preset === before.preset || text === prompt.trim()) return;
    if (!text || text === before.prompt.trim()) fillPrompt(prompt);
    else if (prompt && text === String(load(DRAFT, {}).prompt).trim()) {
      toast("This workflow has a prompt of its own", "Use it", () => replacePrompt(prompt));
    }
  }
  /** Like setPrompt, with a way back on the page, too. @param {string} text */
  function replacePrompt(text) {
    const before = promptBox().value;
    setPrompt(text);
    toast("Prompt replaced", "Undo", () => setPrompt(before));
  }
  let place = -1; // in the history; -1: the prompt is none of it
  function remember(text) {
    text = text.trim();
    place = -1;
    if (!text) return;
    const past = load(PAST, []).filter((other) => other !== text);
    save(PAST, [text, ...past].slice(0, 50));
  }
  function walk(step) {
    let past = load(PAST, []);
    if (!past.length) return;
    const text = promptBox().value.trim();
    if (text !== past[place]) place = text === past[0] ? 0 : -1; // typed since
    if (place < 0 && text) {
      if (step < 0) return;
      remember(text); // a prompt that was never run must not be lost
      past = load(PAST, []);
      place = 0;
    }
    place = Math.min(Math.max(place + step, 0), past.length - 1);
    fillPrompt(past[place]);
  }

  // ---- dialogs, toasts, keys -----------------------------------------------------------------------

  /**
   * @param {string} tag
   * @param {Record<string, unknown>} properties
   * @param {unknown[]} children
   * @returns {AnyElement}
   */
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(.../** @type {(Node | string)[]} */ (children.filter(Boolean)));
    return element;
  }
  /**
   * Make `old` like `replacement` and keep the nodes that are the same: bars glide, focus stays.
   * Not idiomorph, which does the same for 10.6 kB: our rows and cards change in place, so position is enough.
   * @param {Element} old
   * @param {AnyElement} replacement
   */
  function morph(old, replacement) {
    window.comfy.translate(replacement); // first, so that translated texts do not change twice
    same(old, replacement);
  }
  /**
   * @param {any} old
   * @param {any} wanted
   */
  function same(old, wanted) {
    if (old.nodeType !== wanted.nodeType || old.nodeName !== wanted.nodeName) return old.replaceWith(wanted);
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== wanted.data) old.data = wanted.data;
      return;
    }
    for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    if (old.hasAttribute("data-own")) return; // a script draws what is in it
    const [before, after] = [[...old.childNodes], [...wanted.childNodes]];
    after.forEach((child, at) => (at < before.length ? same(before[at], child) : old.append(child)));
    for (const extra of before.slice(after.length)) extra.remove();
  }
  /**
   * Draws HTML from the server into a block and changes only what is different.
   * @param {AnyElement | null} element
   * @param {string} html
   */
  function draw(element, html) {
    if (!element) return;
    const template = document.createElement("template");
    template.innerHTML = html;
    const [old, fresh] = [element.firstElementChild, template.content.firstElementChild];
    if (old && fresh) morph(old, fresh);
    else {
      element.replaceChildren(template.content);
      window.comfy.translate(element);
    }
  }
  function dialog(id, label, ...children) {
    $(`#${id}`)?.remove();
    const close = make("button", { className: "tool close", type: "button", ariaLabel: "Close", innerHTML: "&times;" });
    const box = make("dialog", { id, ariaLabel: label }, close, ...children);
    close.onclick = () => box.close();
    box.onclick = (event) => void (event.target === box && box.close()); // false would keep checkboxes and links from working
    box.onclose = () => {
      const shownToast = $("#toast", box);
      if (shownToast) ($(".gradio-container") ?? document.body).append(shownToast);
      box.remove();
    };
    // Inside Gradio's container, so that its styles and ours apply.
    ($(".gradio-container") ?? document.body).append(box);
    box.showModal();
    paintSliders();
    return box;
  }
  const KEYS = [
    ["Ctrl/⌘ + Enter", "Generate, or add to the queue"],
    ["Ctrl/⌘ + Shift + Enter", "Generate and run next"],
    ["Shift + X", "Stop your running job"],
    ["Alt + ↑ / ↓", "Previous and next prompt"],
    ["Tab / ↑ / ↓", "Take or choose a suggestion while typing"],
    ["Ctrl/⌘ + ↑ / ↓", "Weight of a word or a selection"],
    ["/", "Go to the prompt, or to the search in the Library"],
    ["← ↑ → ↓", "Other results; in the Queue, move a job"],
    ["A / R / P / S", "Reuse all, remix, prompt or seed of a result"],
    [". / Space / Delete", "Star, select, delete a result"],
    ["+ / − / 0 / F", "Zoom an enlarged image, actual size, full screen"],
    ["Shift / Ctrl + click", "Select several results"],
    ["Esc", "Close"],
    ["?", "Show these shortcuts"],
  ];
  function showKeys() {
    const rows = KEYS.map(([key, what]) => make("div", {}, make("dt", {}, make("kbd", { textContent: key })), make("dd", { textContent: what })));
    dialog("keys", "Keyboard shortcuts", make("h2", { textContent: "Keyboard" }), make("dl", {}, ...rows));
  }
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let toastTimer;
  /**
   * @param {string} text
   * @param {string} [action] the text of a button
   * @param {() => void} [then] what the button does
   */
  function toast(text, action, then) {
    const home = $("dialog[open]") ?? $(".gradio-container") ?? document.body;
    $("#toast")?.remove();
    const box = make("div", { id: "toast", role: "status" }, make("span", { textContent: text }));
    if (action) box.append(make("button", { type: "button", className: "act", textContent: action, onclick: () => (box.remove(), then?.()) }));
    home.append(box);
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => box.remove(), action ? 9000 : 4000);
  }
  function logIn() {
    saveDraft();
    location.reload();
  }
  /** POST as JSON; an error is returned, because a form shows it. @param {string} path @param {unknown} data */
  async function ask(path, data) {
    try {
      const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(data) });
      const result = await answer.json();
      return answer.ok ? result : { error: result.error ?? "That did not work." };
    } catch {
      return { error: "Connection lost. Try again." };
    }
  }
  /**
   * POST as JSON. Shows an error as a toast and returns null.
   * @param {string} path
   * @param {unknown} data
   * @param {number[]} pausesMs pauses before each retry after a lost connection
   * @returns {Promise<any>}
   */
  async function post(path, data, pausesMs = []) {
    const body = JSON.stringify(data);
    try {
      // keepalive: a small request still arrives if the page is closed meanwhile.
      const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body, keepalive: body.length < 15000 });
      if (answer.ok) return await answer.json();
      // A proxy has lost the app, which may have the request: as if the connection were lost.
      if (answer.status === 502 || answer.status === 504) throw new TypeError("The app is away");
      const problem = await answer.json().catch(() => ({}));
      if (answer.status === 401) toast("Your session has ended. What you typed is kept.", "Log in", logIn);
      else toast(problem.error ?? "That did not work");
    } catch {
      if (pausesMs.length) {
        await new Promise((done) => setTimeout(done, pausesMs[0]));
        return post(path, data, pausesMs.slice(1));
      }
      toast("Connection lost");
    }
    return null;
  }
  // An idempotency key: the server acts once, however often the request arrives.
  const named = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
  const insist = (path, data) => post(path, data, [1000, 3000]);
  /**
   * The updates of Gradio's components from one of our routes, one for each output of the event.
   * @param {string} path
   * @param {unknown} data
   */
  const updates = async (path, data) => (await insist(path, data)) ?? [];
  /** The form that the page opens with. Its prompt stays here: it may be long. */
  function openForm() {
    const { preset, values: settings } = current();
    return updates("create/open", { preset, values: settings });
  }
  const stageIsland = () => $("#stage .island, #stage.island");
  function toCreate() {
    $("#tabs button[role=tab]")?.click();
    window.comfy.showPlace("inputs");
    scrollTo({ top: 0 });
  }
  /** Load the settings of a result or job into the form on Create. @param {Record<string, unknown>} data */
  function recall(data) {
    toCreate();
    remember(promptBox()?.value ?? "");
    stageIsland()?.comfyTrigger("recall", { ...data, draft: JSON.stringify(current()) });
  }
  function flash(button, text) {
    const before = button.dataset.feedback ?? "";
    button.dataset.feedback = text;
    setTimeout(() => (button.dataset.feedback = before), 1600);
  }
  const typing = (target) =>
    target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
  const usable = (button) => button && !button.disabled && button.offsetParent !== null;

  // ---- events --------------------------------------------------------------------------------

  document.addEventListener("click", (/** @type {On<MouseEvent>} */ event) => {
    const target = event.target.closest?.("[data-send]:not(form), [data-do], [data-prompt], .thumb[data-open], [data-zoom], [data-copy]");
    for (const open of $$("details[data-close=outside][open]")) {
      // The element itself is the backdrop that it has on a phone.
      if (!open.contains(event.target) || event.target === open) open.open = false;
    }
    const advanced = event.target.closest?.(".advanced > summary")?.parentElement;
    if (advanced) save(ADVANCED, !advanced.open); // it opens or closes after this event
    if (!target) return;
    const { send: event_, do: action, prompt, open, zoom, copy } = target.dataset;
    if (prompt !== undefined) setPrompt(prompt);
    if (event_) {
      send(target, event_, { ...target.dataset, draft: JSON.stringify(current()) });
      const list = target.closest("details[data-close=outside]");
      if (list) list.open = false;
    } else if (action) actions[action]?.(target, event);
    else if (open) window.comfy.open(target);
    else if (zoom !== undefined) window.comfy.view(target.closest("[data-open]"));
    else if (copy) navigator.clipboard?.writeText(copy).then(() => flash(target, "Copied"), () => flash(target, "Copy it manually"));
    else if (prompt !== undefined) promptBox()?.focus();
  });

  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    const field = event.target;
    if (field.dataset?.filter) filter(field);
    if (field.type === "range") field.style.setProperty("--part", part(field));
    if (field.closest?.("form.settings")) {
      const pair = field.dataset.for
        ? document.getElementById(field.dataset.for)
        : field.id && $(`input[type=range][data-for="${CSS.escape(field.id)}"]`);
      if (pair && pair.value !== field.value) pair.value = field.value;
      if (pair?.type === "range") pair.style.setProperty("--part", part(pair));
      if (!field.dataset.filter) sizeShown();
      keep();
    } else if (field.closest?.("#prompt")) keep();
  });
  document.addEventListener("submit", (/** @type {On<SubmitEvent>} */ event) => {
    const { target } = event;
    if (target.matches("form.settings, form[data-send]")) event.preventDefault();
    // An event for Python, as of a button with data-send, with the form's fields.
    const fields = Object.fromEntries(new FormData(target));
    if (target.dataset.send) send(target, target.dataset.send, { ...target.dataset, ...fields });
  });
  function paintSliders() {
    for (const slider of $$("input[type=range]")) {
      slider.style.setProperty("--part", part(slider));
    }
  }
  const part = ({ value, min, max }) => `${(100 * (value - min)) / (max - min || 1)}%`;
  function filter(box) {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const entry of $$(box.dataset.filter)) {
      entry.hidden = !words.every((word) => entry.dataset.find.includes(word));
    }
  }

  document.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
    const box = promptBox();
    const opened = event.key === "Escape" && !$("dialog[open]") && $("details[data-close=outside][open]");
    if (opened) {
      event.preventDefault();
      opened.open = false;
      $("summary", opened).focus();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      if (!usable($("#generate")) || $("dialog[open]")) return;
      event.preventDefault();
      window.comfy.press({ first: event.shiftKey });
    } else if (event.altKey && event.target === box && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      walk(event.key === "ArrowUp" ? 1 : -1);
    } else if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) {
      return;
    } else if (event.key === "?") {
      event.preventDefault();
      showKeys();
    } else if (event.key === "X" && event.shiftKey) {
      const stop = $("#stop");
      if (usable(stop)) stop.click();
    } else if (event.key === "/" && box) {
      event.preventDefault();
      box.focus();
    }
  });

  // Gradio applies the system's colors when it mounts; the user's choice comes after that.
  function applyTheme() {
    const chosen = load(THEME, null);
    if (chosen && document.body) document.body.classList.toggle("dark", chosen === "dark");
  }
  function observeTheme() {
    applyTheme();
    new MutationObserver(() => {
      const chosen = load(THEME, null);
      if (chosen && document.body.classList.contains("dark") !== (chosen === "dark")) applyTheme();
      // The title bar of the installed app, or of a phone's browser, takes the page's color.
      $("meta[name=theme-color]")?.setAttribute("content", getComputedStyle(document.body).backgroundColor);
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }
  if (document.body) observeTheme();
  else addEventListener("DOMContentLoaded", observeTheme);

  const kit = { $, $$, make, draw, announce, morph, setField, smooth, dialog, toast, ask, post, insist, named, recall, toCreate, flash, typing, load, save, saveDraft, remember, setPrompt, dialogOpen: () => $("dialog[open]") };
  return { island, updates, openForm, shownJob, actions, kit, onIsland: (callback) => drawn.push(callback), current: () => JSON.stringify(current()) };
})()));
