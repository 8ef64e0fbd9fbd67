// @ts-check
// The panel for a grid of variations: two fields of the form, each over several values.
"use strict";
(() => {
  const { $, $$, make, dialog, load, save } = window.comfy.kit;
  const { quoteEntry, splitEntries, gridTotal } = globalThis.comfyText;
  const KEPT = "comfy-ui.grid";

  /** The axes of the next request only. @type {GridAxis[]} */
  let chosen = [];

  // What may vary: the prompt, and every field of the form that takes a value from a list.
  function fields() {
    /** @type {{ name: string, label: string, role?: string, hint: string, now: string, options?: string[], lines?: boolean }[]} */
    const found = [];
    const form = $("form.settings");
    const box = form?.dataset.promptRole === "yes" && { name: form.dataset.promptName, label: "Words in the prompt", hint: form.dataset.promptHint ?? "", now: "" };
    if (box) {
      const now = $("#prompt textarea").value.replace(/\s*\n\s*/g, " ").trim();
      found.push(box, { name: "prompts", label: "Whole prompts", hint: "One prompt per line", now: now && `${now}\n`, lines: true });
    }
    for (const field of $$("form.settings .field")) {
      const input = $("[name]", field);
      const { role, gridHint: hint } = field.dataset; // workflow/fields/field_types.py has the hints
      if (!input || !hint) continue;
      if (role === "loras") {
        const names = (window.comfy.models.modelList("loras") ?? []).map((one) => one.name);
        if ($(".lora-strip:not([hidden])")) found.push({ name: input.name, label: "LoRAs", role, hint, options: ["none", ...names], now: "" });
        continue;
      }
      const options = [...(input.options ?? [])].map((option) => (input.name === "variant" ? option.textContent : option.value));
      found.push({ name: input.name, label: $("label, .label", field).textContent, role, hint, options, now: input.type === "checkbox" ? "on, off" : input.value });
    }
    return found;
  }
  /**
   * One axis of the grid: which field varies, over which values.
   * @param {ReturnType<typeof fields>} all
   * @param {string} title
   * @param {Partial<GridAxis> | undefined} kept the axis of the last time
   * @param {{ optional?: boolean, changed: () => void }} options
   */
  function side(all, title, kept, { optional = false, changed }) {
    const select = make("select", { ariaLabel: `${title}: field` });
    if (optional) select.append(make("option", { value: "", textContent: "Nothing" }));
    select.append(...all.map(({ name, label }) => make("option", { value: name, textContent: label })));
    const values = make("textarea", { rows: 1, ariaLabel: `${title}: values`, spellcheck: false });
    const help = make("p", { className: "help" });
    const options = make("div", { className: "offered" });
    const field = () => all.find(({ name }) => name === select.value);
    function offer() {
      const now = splitEntries(values.value);
      for (const button of options.children) button.setAttribute("aria-pressed", String(now.includes(button.value)));
    }
    function show() {
      const one = field();
      values.hidden = help.hidden = !one;
      help.textContent = one?.hint ?? "";
      values.rows = one?.lines ? 4 : 1;
      options.replaceChildren(...(one?.options ?? []).filter(Boolean).map((value) => make("button", { type: "button", className: "offer", value, textContent: value.split(/[\\/]/).pop(), title: value })));
      offer();
    }
    options.onclick = (event) => {
      const value = event.target.closest("button")?.value;
      if (!value) return;
      const now = splitEntries(values.value);
      values.value = (now.includes(value) ? now.filter((other) => other !== value) : [...now, value]).map(quoteEntry).join(", ");
      offer();
      changed();
    };
    select.onchange = () => {
      const one = field();
      values.value = one?.options?.length ? "" : one?.now ?? "";
      show();
      changed();
    };
    values.oninput = () => (offer(), changed());
    const last = all.find(({ name }) => name === kept?.name);
    if (last) [select.value, values.value] = [last.name, kept?.values ?? last.now];
    else select.onchange();
    show();
    const row = make("div", { className: "field" }, make("span", { className: "label", textContent: title }), make("div", { className: "select" }, select), values, help, options);
    return { row, axis: () => ({ name: select.value, values: values.value }) };
  }

  function open() {
    const all = fields();
    const kept = load(KEPT, []);
    const count = make("p", { className: "counted", role: "status" });
    const go = make("button", { type: "button", className: "act primary", textContent: "Add to queue", disabled: true });
    let asked = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let soon;
    /** @type {{ row: AnyElement, axis: () => GridAxis }[]} */
    const sides = [];
    const axes = () => sides.map(({ axis }) => axis()).filter(({ name }) => name);
    async function ask() {
      const mine = ++asked;
      const answer = await fetch("grid", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ...JSON.parse(window.comfy.current()), grid: axes() }) }).catch(() => null);
      const reply = await answer?.json().catch(() => null);
      if (mine !== asked) return;
      const [columns, rows] = reply?.size ?? [];
      count.classList.toggle("trouble", !columns && axes().every(({ values }) => values.trim()));
      count.textContent = columns ? gridTotal(columns, rows, reply.results) : (reply?.error ?? "Connection lost");
      go.disabled = !columns;
      save(KEPT, axes());
    }
    function changed() {
      go.disabled = true;
      clearTimeout(soon);
      soon = setTimeout(ask, 180);
    }
    sides.push(side(all, "Across", kept[0] ?? { name: all.find(({ role }) => role === "steps")?.name }, { changed }), side(all, "Down", kept[1], { optional: true, changed }));
    const box = dialog(
      "grid", "Grid of variations",
      make("h2", { textContent: "Grid of variations" }),
      make("p", { className: "quiet", textContent: "Runs every combination and adds a labeled contact sheet when all are done." }),
      ...sides.map(({ row }) => row),
      make("div", { className: "row foot" }, count, go),
    );
    go.onclick = () => {
      chosen = axes();
      box.close();
      $("#generate").click();
    };
    ask();
  }

  /** The server's LoRAs, which an axis offers, as far as they are known in a second. */
  async function lorasKnown() {
    const { modelList, onList, ask } = window.comfy.models;
    if (!$(".lora-strip:not([hidden])") || modelList("loras")) return;
    await new Promise((done) => {
      onList(done);
      setTimeout(done, 1000);
      ask("loras");
    });
  }
  window.comfy.actions.grid = async (button) => {
    button.closest("details").open = false;
    await lorasKnown();
    open();
  };
  window.comfy.grid = () => {
    const asked = chosen;
    chosen = [];
    return asked.length ? { grid: asked } : {};
  };
})();
