// The prompt's own tools: how long it is, earlier prompts, weights, and the draft of Enhance.
"use strict";
(() => {
  const { $, make, dialog, load, save } = window.comfy.kit;
  const WISHES = "comfy-ui.wishes";
  const PAST = "comfy-ui.prompts";
  const box = () => $("#prompt textarea");
  const changed = (field) => field.dispatchEvent(new Event("input", { bubbles: true }));

  // ---- tokens: the estimate of prompts/families.py, see count_tokens there -------------------

  const SYNTAX = /<[^<>]*>|:\s*[\d.]+\s*\)|[()\\]|\bBREAK\b/g;
  const PIECE = /[A-Za-z]+|\d|(?:(?!\d)[\p{L}\p{N}])+|[^\s\p{L}\p{N}_]+|_/gu;
  function cost(piece, encoder) {
    const length = [...piece].length;
    const first = piece.codePointAt(0);
    if (first >= 0x2e80) return encoder === "clip" ? 2 * length : length;
    if (first > 127) return encoder === "clip" ? length : Math.ceil(length / 2);
    return length <= 8 || !/^[A-Za-z]+$/.test(piece) ? 1 : 1 + Math.ceil((length - 8) / 5);
  }
  function count() {
    const shown = $(".words-bar .tokens");
    if (!shown) return;
    const known = JSON.parse(shown.dataset.limits)[$("form.settings")?.dataset.preset];
    const text = box()?.value.trim() ?? "";
    shown.hidden = !known || !text;
    if (shown.hidden) return;
    const [encoder, limit, chunk] = known;
    const used = (text.replace(SYNTAX, " ").match(PIECE) ?? []).reduce((sum, piece) => sum + cost(piece, encoder), 0);
    const over = used > limit;
    shown.classList.toggle("over", over);
    shown.textContent = `≈ ${used} of ${limit} tokens` + (!over ? "" : chunk ? `: ${Math.ceil(used / chunk)} pieces` : ": the end may be ignored");
    shown.title = "An estimate of how much the text encoder of this model reads";
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
    const opened = dialog("past", "Earlier prompts", make("h2", { textContent: "Earlier prompts" }), rows.length ? search : null, ...(rows.length ? rows : [make("p", { className: "quiet", textContent: "Prompts that you run are kept here, in this browser." })]));
    for (const row of rows) row.addEventListener("click", () => setTimeout(() => opened.close()));
    search.focus();
  };

  // ---- weights: Ctrl + up or down on a word or a selection -----------------------------------

  function weigh(field, step) {
    let { selectionStart: start, selectionEnd: end, value } = field;
    const around = [...value.matchAll(/\(([^()]+):(-?[\d.]+)\)/g)].find((m) => m.index <= start && end <= m.index + m[0].length);
    let text, weight = 1;
    if (around) {
      [start, end] = [around.index, around.index + around[0].length];
      [text, weight] = [around[1], Number(around[2])];
    } else {
      if (start === end) {
        while (start > 0 && /[^\s,.()]/.test(value[start - 1])) start -= 1;
        while (end < value.length && /[^\s,.()]/.test(value[end])) end += 1;
      }
      text = value.slice(start, end);
      const inner = text.trim();
      start += text.indexOf(inner);
      end = start + inner.length;
      text = inner;
    }
    if (!text) return;
    weight = Math.round((weight + step) * 100) / 100;
    const made = weight === 1 ? text : `(${text}:${weight})`;
    field.setRangeText(made, start, end, "select");
    changed(field);
  }
  document.addEventListener("keydown", (event) => {
    const step = { ArrowUp: 0.05, ArrowDown: -0.05 }[event.key];
    if (!step || !(event.ctrlKey || event.metaKey) || event.altKey || !event.target.closest?.("#prompt")) return;
    event.preventDefault();
    weigh(event.target, step);
  });

  // ---- the draft -----------------------------------------------------------------------------

  window.comfy.wishes = (again) => JSON.stringify({ ...JSON.parse(window.comfy.current()), wishes: load(WISHES, {}), again });
  document.addEventListener("change", (event) => {
    const { wish } = event.target.dataset ?? {};
    if (!wish) return;
    save(WISHES, { ...load(WISHES, {}), [wish]: event.target.value });
    if (wish !== "instructions") event.target.closest(".island")?.comfyTrigger("retry", {});
  });
  window.comfy.actions["edit-draft"] = (button) => {
    const use = $("[data-send=use]", button.closest(".draft"));
    const field = make("textarea", { className: "draft-text", value: use.dataset.prompt, rows: 5, ariaLabel: "Edit the draft" });
    field.oninput = () => (use.dataset.prompt = field.value);
    $(".draft-text", button.closest(".draft")).replaceWith(field);
    button.remove();
    field.focus();
  };
  // Before app.js answers the click: a negative prompt or lyrics never replace the person's own.
  document.addEventListener(
    "click",
    (event) => {
      const use = event.target.closest?.("[data-send=use]");
      for (const name of use ? ["negative", "lyrics"] : []) {
        const field = $("form.settings")?.elements[name];
        if (use.dataset[name] && field && !field.value.trim()) {
          field.value = use.dataset[name];
          changed(field);
        }
      }
    },
    true,
  );

  document.addEventListener("input", (event) => event.target.closest?.("#prompt") && count());
  window.comfy.onIsland(() => setTimeout(count));
})();
