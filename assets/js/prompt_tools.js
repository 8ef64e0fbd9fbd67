// @ts-check
// The prompt's tools: its length in tokens, earlier prompts, weights, the draft of Enhance.
"use strict";
(() => {
  const { $, $$, make, dialog, load, save, toast, toCreate } = window.comfy.kit;
  const { countTokens, changeWeight } = globalThis.comfyText;
  const WISHES = "comfy-ui.wishes";
  const PAST = "comfy-ui.prompts";
  const box = () => $("#prompt textarea");
  /** @param {AnyElement} field */
  const changed = (field) => field.dispatchEvent(new Event("input", { bubbles: true }));
  /** The form's field of a role, if the preset has one. @param {string} role @returns {AnyElement} */
  const fieldOf = (role) => $(`form.settings [data-role=${role}] [name]`);

  // ---- tokens --------------------------------------------------------------------------------

  function count() {
    const shown = $(".words-bar .tokens");
    if (!shown) return;
    const known = JSON.parse(shown.dataset.limits)[$("form.settings")?.dataset.preset];
    const text = box()?.value.trim() ?? "";
    shown.hidden = !known || !text;
    if (shown.hidden) return;
    const counts = known.map(([name, encoder, limit, chunk]) => {
      const used = countTokens(text, encoder);
      const chunks = chunk ? Math.max(1, Math.ceil(used / chunk)) : 1;
      const end = chunks > 1 ? `, ${chunks} chunks` : !chunk && used > limit ? ": the end may be ignored" : "";
      return make("span", { className: used > limit ? "over" : "" }, name && make("b", { textContent: name, translate: false }), make("span", { textContent: `≈ ${used} of ${chunk ? chunks * chunk : limit} tokens${end}` }));
    });
    shown.replaceChildren(...counts);
    shown.title = known.some(([, , , chunk]) => chunk) ? "Estimated. CLIP reads long prompts in chunks of 75 tokens." : "Estimated length for this model's text encoder";
  }

  // ---- earlier prompts -----------------------------------------------------------------------

  window.comfy.actions["past-prompts"] = () => {
    const past = load(PAST, []);
    const rows = past.map((text) => {
      const row = make("button", { type: "button", className: "past", textContent: text });
      row.dataset.prompt = text;
      row.dataset.find = text.toLowerCase();
      return row;
    });
    const search = make("input", { type: "search", placeholder: "Search", ariaLabel: "Search earlier prompts" });
    search.dataset.filter = "#past .past";
    const opened = dialog("past", "Earlier prompts", make("h2", { textContent: "Earlier prompts" }), rows.length ? search : null, ...(rows.length ? rows : [make("p", { className: "quiet", textContent: "Prompts you run are kept here, in this browser." })]));
    for (const row of rows) row.addEventListener("click", () => setTimeout(() => opened.close()));
    search.focus();
  };

  // ---- images described ----------------------------------------------------------------------

  window.comfy.sees = () => Boolean($("#draft") && $(".words-bar[data-sees]"));
  // Sends a small re-encoded copy, so that metadata stays in the browser.
  window.comfy.describe = async (file) => {
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (!bitmap) return toast("This image cannot be read");
    const scale = Math.min(1, 1024 / Math.max(bitmap.width, bitmap.height));
    const canvas = make("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
    const pen = canvas.getContext("2d");
    pen.fillStyle = "white";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    toCreate();
    $("#draft .island, #draft.island")?.comfyTrigger("describe", { picture: canvas.toDataURL("image/jpeg", 0.85), draft: window.comfy.current() });
  };
  window.comfy.actions["describe-shown"] = async (button) => {
    const picture = $("img", button.closest("dialog"));
    button.closest("dialog").close();
    window.comfy.describe(await (await fetch(picture.src)).blob());
  };

  // ---- weights: Ctrl + up or down on a word or a selection -----------------------------------

  /**
   * @param {AnyElement} field
   * @param {number} step
   */
  function weigh(field, step) {
    const change = changeWeight(field.value, field.selectionStart, field.selectionEnd, step);
    if (!change) return;
    field.setRangeText(change.text, change.start, change.end, "select");
    changed(field);
  }
  document.addEventListener("keydown", (/** @type {On<KeyboardEvent>} */ event) => {
    const step = { ArrowUp: 0.05, ArrowDown: -0.05 }[event.key];
    if (!step || !(event.ctrlKey || event.metaKey) || event.altKey || !window.comfy.prompts.is(event.target)) return;
    event.preventDefault();
    weigh(event.target, step);
  });

  // ---- the draft -----------------------------------------------------------------------------

  window.comfy.wishes = (again) => {
    const unlike = again ? $("#draft [data-send=use]")?.dataset.prompt : undefined;
    return JSON.stringify({ ...JSON.parse(window.comfy.current()), wishes: load(WISHES, {}), unlike });
  };
  document.addEventListener("change", (/** @type {On<Event>} */ event) => {
    const { wish } = event.target.dataset ?? {};
    if (!wish) return;
    save(WISHES, { ...load(WISHES, {}), [wish]: event.target.value });
    if (event.target.tagName === "SELECT") event.target.closest(".island")?.comfyTrigger("retry", {});
  });
  window.comfy.actions["edit-draft"] = (button) => {
    const use = $("[data-send=use]", button.closest(".draft"));
    const field = make("textarea", { className: "draft-text", value: use.dataset.prompt, rows: 5, ariaLabel: "Edit the draft" });
    field.oninput = () => (use.dataset.prompt = field.value);
    $(".draft-text", button.closest(".draft")).replaceWith(field);
    button.remove();
    field.focus();
  };
  // A draft for another prompt or preset would undo what changed since, such as a style.
  function checkDraft() {
    const draft = $("#draft .draft[data-original]");
    if (!draft) return;
    const { original, preset } = draft.dataset;
    const stale = original !== box().value.trim() || preset !== $("form.settings")?.dataset.preset;
    draft.classList.toggle("stale", stale);
    $(".stale-note", draft).hidden = !stale;
    for (const use of $$("[data-send=use], [data-do=edit-draft]", draft)) use.disabled = stale;
  }
  // Runs before app.js handles the click: a negative prompt or lyrics never replace the user's own.
  document.addEventListener(
    "click",
    (/** @type {On<MouseEvent>} */ event) => {
      const use = event.target.closest?.("[data-send=use]");
      if (!use) return;
      use.closest(".draft")?.removeAttribute("data-original"); // it is used now, not stale
      const { negative, lyrics } = use.dataset;
      for (const [field, text] of [[fieldOf("negative"), negative], [$("form.settings [name=lyrics]"), lyrics]]) {
        if (text && field && !field.value.trim()) {
          field.value = text;
          changed(field);
        }
      }
    },
    true,
  );

  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    if (!event.target.closest?.("#prompt")) return;
    count();
    checkDraft();
  });
  window.comfy.onIsland(() => {
    document.body.classList.toggle("sees", window.comfy.sees());
    checkDraft();
    setTimeout(count);
  });
})();
