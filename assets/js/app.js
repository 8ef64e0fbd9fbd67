// The page's own script: islands (our HTML inside Gradio), the form, drafts, keys, the viewer.
// Everything is delegated from the document, because Gradio morphs the HTML under it.
"use strict";
window.comfy = (() => {
  const DRAFT = "comfy-ui.draft";
  const PAST = "comfy-ui.prompts";
  const THEME = "comfy-ui.theme";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // A browser may refuse storage (private windows, full disk): then drafts last as long as the page.
  const kept = new Map();
  function load(key, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(key)) ?? kept.get(key) ?? otherwise;
    } catch {
      return kept.get(key) ?? otherwise;
    }
  }
  function save(key, value) {
    kept.set(key, value);
    try {
      localStorage.setItem(key, JSON.stringify(value));
    } catch {
      /* kept in memory above */
    }
  }

  // ---- islands -------------------------------------------------------------------------------

  const drawers = []; // parts of the page that draw into islands themselves, each in a file of its own
  function island(element, trigger, watch) {
    element.comfyTrigger = trigger;
    element.classList.add("island");
    const drawn = () => {
      // Morphing sets attributes; what somebody has typed stays in the properties until reset.
      $("form.settings", element)?.reset();
      if (element.contains($("form.settings"))) formDrawn();
      for (const told of drawers) told(element);
    };
    watch("value", () => queueMicrotask(drawn));
    drawn();
  }
  function send(source, event, data) {
    source.closest(".island")?.comfyTrigger(event, data);
  }

  // ---- form and drafts -----------------------------------------------------------------------

  const form = () => $("form.settings");
  const promptBox = () => $("#prompt textarea");

  function values() {
    const found = {};
    for (const field of form()?.elements ?? []) {
      if (!field.name) continue;
      if (field.type === "checkbox") found[field.name] = field.checked;
      else if (field.type === "number") found[field.name] = field.value === "" ? null : Number(field.value);
      else found[field.name] = field.value;
    }
    return found;
  }
  function current() {
    return {
      preset: form()?.dataset.preset,
      prompt: promptBox()?.value ?? "",
      values: values(),
    };
  }
  const draft = () => JSON.stringify(load(DRAFT, {}));
  const saveDraft = () => form() && save(DRAFT, current());
  let saving;
  function keep() {
    clearTimeout(saving);
    saving = setTimeout(saveDraft, 250);
  }
  addEventListener("pagehide", saveDraft);

  const smooth = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");
  const shownJob = () => $("#stage .stage")?.dataset.job ?? "";

  function formDrawn() {
    sizeShown();
    paintSliders();
    keep();
  }
  function setField(name, value) {
    const field = form()?.elements[name];
    if (!field) return;
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
  function sizeNames() {
    const size = $(".field.size");
    return size ? [size.dataset.width, size.dataset.height] : null;
  }
  function sizeShown() {
    const names = sizeNames();
    if (!names) return;
    const [w, h] = names.map((name) => Number(form().elements[name].value));
    $(".size-now").textContent = `${w} × ${h}`;
    for (const shape of $$(".shape")) {
      const [a, b] = [Number(shape.dataset.w), Number(shape.dataset.h)];
      shape.setAttribute("aria-pressed", String((a === w && b === h) || (a === h && b === w && a !== b && !offers(w, h))));
      const turned = shape.getAttribute("aria-pressed") === "true" && !(a === w && b === h);
      shape.classList.toggle("turned", turned);
    }
  }
  const offers = (w, h) => $$(".shape").some((s) => Number(s.dataset.w) === w && Number(s.dataset.h) === h);

  function lastSeed() {
    return $("#stage .seed")?.textContent.replace(/\D/g, "") || $("#results .thumb[data-seed]")?.dataset.seed;
  }

  const actions = {
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
  };

  // ---- prompt and its history ----------------------------------------------------------------

  function setPrompt(text) {
    const box = promptBox();
    if (!box) return;
    remember(box.value);
    box.value = text;
    box.dispatchEvent(new Event("input", { bubbles: true }));
    keep();
  }
  let place = -1;
  function remember(text) {
    text = text.trim();
    place = -1;
    if (!text) return;
    const past = load(PAST, []).filter((other) => other !== text);
    save(PAST, [text, ...past].slice(0, 50));
  }
  function walk(step) {
    const past = load(PAST, []);
    if (!past.length) return;
    const box = promptBox();
    if (place < 0 && step > 0 && box.value.trim() && box.value.trim() !== past[0]) {
      remember(box.value); // what stands there now must not be lost by leafing
      return walk(step + 1);
    }
    const start = place < 0 && box.value.trim() === past[0] ? 0 : place;
    place = Math.min(Math.max(start + step, 0), load(PAST, []).length - 1);
    box.value = load(PAST, [])[place];
    box.dispatchEvent(new Event("input", { bubbles: true }));
    keep();
  }

  // ---- dialogs, toasts, keys -----------------------------------------------------------------------

  function make(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children.filter(Boolean));
    return made;
  }
  // Makes `old` like `wanted` without replacing what is the same: bars glide, focus stays.
  function morph(old, wanted) {
    window.comfy.translate(wanted); // before: what is said already must not change there and back
    same(old, wanted);
  }
  function same(old, wanted) {
    if (old.nodeType !== wanted.nodeType || old.nodeName !== wanted.nodeName) return old.replaceWith(wanted);
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== wanted.data) old.data = wanted.data;
      return;
    }
    for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    const [before, after] = [[...old.childNodes], [...wanted.childNodes]];
    after.forEach((child, at) => (at < before.length ? same(before[at], child) : old.append(child)));
    for (const extra of before.slice(after.length)) extra.remove();
  }
  function dialog(id, label, ...children) {
    $(`#${id}`)?.remove();
    const close = make("button", { className: "tool close", type: "button", ariaLabel: "Close", innerHTML: "&times;" });
    const box = make("dialog", { id, ariaLabel: label }, close, ...children);
    close.onclick = () => box.close();
    box.onclick = (event) => event.target === box && box.close();
    box.onclose = () => {
      const told = $("#toast", box);
      if (told) ($(".gradio-container") ?? document.body).append(told);
      box.remove();
    };
    // Inside Gradio's container, so that its and our styles and colours apply.
    ($(".gradio-container") ?? document.body).append(box);
    box.showModal();
    paintSliders();
    return box;
  }
  const KEYS = [
    ["Ctrl/⌘ + Enter", "Generate, or add to the queue"],
    ["Ctrl/⌘ + Shift + Enter", "Run before your other waiting jobs"],
    ["Shift + X", "Stop your running job"],
    ["Alt + ↑ / ↓", "Earlier and later prompts"],
    ["Ctrl/⌘ + ↑ / ↓", "Weight of a word or a selection"],
    ["/", "Go to the prompt; in the Library, to its search"],
    ["← ↑ → ↓", "Other results; in the Queue, move a job"],
    ["A / R / P / S", "Reuse all, remix, prompt, seed of a result"],
    [". / Space / Delete", "Star, select, delete a result"],
    ["Shift / Ctrl + click", "Select several results"],
    ["Esc", "Close"],
    ["?", "These keys"],
  ];
  function showKeys() {
    const rows = KEYS.map(([key, what]) => make("div", {}, make("dt", {}, make("kbd", { textContent: key })), make("dd", { textContent: what })));
    dialog("keys", "Keyboard shortcuts", make("h2", { textContent: "Keyboard" }), make("dl", {}, ...rows));
  }
  function toast(text, action, then) {
    const home = $("dialog[open]") ?? $(".gradio-container") ?? document.body;
    $("#toast")?.remove();
    const box = make("div", { id: "toast", role: "status" }, make("span", { textContent: text }));
    if (action) box.append(make("button", { type: "button", className: "act", textContent: action, onclick: () => (box.remove(), then()) }));
    home.append(box);
    clearTimeout(toast.over);
    toast.over = setTimeout(() => box.remove(), action ? 9000 : 4000);
  }
  // `again`: pauses, in ms, before what may be sent twice is sent again, where no answer comes.
  async function post(path, data, again = []) {
    const body = JSON.stringify(data);
    try {
      // What is small enough arrives also where the page is left meanwhile.
      const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body, keepalive: body.length < 15000 });
      if (answer.ok) return await answer.json();
      const told = await answer.json().catch(() => ({}));
      toast(told.error ?? (answer.status === 401 ? "Log in again: reload the page" : "That did not work"));
    } catch {
      if (again.length) {
        await new Promise((done) => setTimeout(done, again[0]));
        return post(path, data, again.slice(1));
      }
      toast("The connection is lost");
    }
    return null;
  }
  // Under a name of its own it is done once, however often it is sent.
  const named = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
  const insist = (path, data) => post(path, data, [1000, 3000]);
  const stageIsland = () => $("#stage .island, #stage.island");
  function toCreate() {
    $("#tabs button[role=tab]")?.click();
    scrollTo({ top: 0 });
  }
  // Results and jobs are taken up on Create, from wherever they are shown.
  function recall(data) {
    toCreate();
    stageIsland()?.comfyTrigger("recall", { ...data, draft: JSON.stringify(current()) });
  }
  const attach = (data = {}) => stageIsland()?.comfyTrigger("attach", data);
  function flash(button, text) {
    const before = button.dataset.told ?? "";
    button.dataset.told = text;
    setTimeout(() => (button.dataset.told = before), 1600);
  }
  const typing = (target) =>
    target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
  const usable = (button) => button && !button.disabled && button.offsetParent !== null;

  // ---- events --------------------------------------------------------------------------------

  document.addEventListener("click", (event) => {
    const target = event.target.closest?.("[data-send], [data-do], [data-prompt], [data-open], [data-zoom], [data-copy]");
    for (const open of $$("details[data-close=outside][open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
    if (!target) return;
    const { send: event_, do: action, prompt, open, zoom, copy } = target.dataset;
    if (prompt !== undefined) setPrompt(prompt);
    if (event_) {
      send(target, event_, { ...target.dataset, draft: JSON.stringify(current()) });
      const list = target.closest("details[data-close=outside]");
      if (list) list.open = false;
    } else if (action) actions[action]?.(target, event);
    else if (open) window.comfy.view(target);
    else if (zoom) $(`#results .thumb[data-open="${CSS.escape(zoom)}"]`)?.click();
    else if (copy) navigator.clipboard?.writeText(copy).then(() => flash(target, "Copied"), () => flash(target, "Copy it by hand"));
    else if (prompt !== undefined) promptBox()?.focus();
  });

  document.addEventListener("input", (event) => {
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
  document.addEventListener("submit", (event) => event.target.matches("form.settings") && event.preventDefault());
  function paintSliders() {
    for (const slider of $$("input[type=range]")) {
      slider.style.setProperty("--part", part(slider));
    }
  }
  const part = ({ value, min, max }) => `${(100 * (value - min)) / (max - min || 1)}%`;
  function filter(box) {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const found of $$(box.dataset.filter)) {
      found.hidden = !words.every((word) => found.dataset.find.includes(word));
    }
  }

  document.addEventListener("keydown", (event) => {
    const box = promptBox();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
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

  // Another tab or device may have started a job while this one was in the background.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") attach();
  });

  // Gradio follows the system's colours when it mounts; a choice made here comes after that.
  function applyTheme() {
    const chosen = load(THEME, null);
    if (chosen && document.body) document.body.classList.toggle("dark", chosen === "dark");
  }
  function observeTheme() {
    applyTheme();
    new MutationObserver(() => {
      const chosen = load(THEME, null);
      if (chosen && document.body.classList.contains("dark") !== (chosen === "dark")) applyTheme();
      // The bar of the installed app, and of a phone's browser, has the page's colour.
      $("meta[name=theme-color]")?.setAttribute("content", getComputedStyle(document.body).backgroundColor);
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  }
  if (document.body) observeTheme();
  else addEventListener("DOMContentLoaded", observeTheme);

  const kit = { $, $$, make, morph, setField, smooth, dialog, toast, post, insist, named, recall, attach, toCreate, flash, typing, load, save, saveDraft, remember, dialogOpen: () => $("dialog[open]") };
  return { island, draft, shownJob, actions, kit, onIsland: (told) => drawers.push(told), current: () => JSON.stringify(current()) };
})();
