// @ts-check
// The import of a folder into the Library: files are counted first, and an import can be undone.
"use strict";
(() => {
  const { $, make, post, dialog } = window.comfy.kit;
  const EVERY_MS = 700;
  const KINDS = { image: ["1 image", "images"], video: ["1 video", "videos"], audio: ["1 audio file", "audio files"], "3d": ["1 3D model", "3D models"] };

  /** The next look at a running import. @type {ReturnType<typeof setTimeout> | undefined} */
  let looking;
  let ran = false;
  const button = () => $("[data-do=import-folder]");
  /** @param {number} count */
  const text = (count) => count.toLocaleString("en");

  const checked = (state) => `${text(state.looked_at)} of ${text(state.found)} checked`;
  /** @param {AnyElement} place @param {string[]} texts */
  function said(place, texts) {
    place.replaceChildren(...texts.map((one) => make("span", { textContent: one })));
  }

  /** @param {any} state the server's answer, null after an error */
  function show(state) {
    if (!state || !button()) return;
    const { running, phase, undo, texts } = state;
    const imports = running && phase === "import";
    said($(".library .importing"), imports ? [checked(state)] : phase === "import" ? texts : []);
    $("span", button()).textContent = imports ? "Stop the import" : "Import a folder";
    button().dataset.running = imports ? "yes" : "";
    const back = $("[data-do=undo-import]");
    back.hidden = running || !undo;
    $("span", back).textContent = undo === 1 ? "Undo the import of 1 file" : `Undo the import of ${text(undo)} files`;
    if ($("#importing")) counted(state);
    clearTimeout(looking);
    if (running) looking = setTimeout(look, EVERY_MS);
    else if (ran) window.comfy.library?.imported();
    ran = imports;
  }
  async function look() {
    if (!button() || button().hidden) return;
    const answer = await fetch("library/import").catch(() => null);
    if (answer?.ok) show(await answer.json());
  }

  // ---- dialog --------------------------------------------------------------------------------

  const part = (name) => $(`#importing [data-part=${name}]`);

  /** Show the count, while it runs and when it is there. @param {any} state */
  function counted(state) {
    const counts = state.running && state.phase === "count";
    const { count } = state;
    part("progress").hidden = !counts;
    part("progress").max = Math.max(1, state.found);
    part("progress").value = state.looked_at;
    said(part("said"), counts ? [state.found ? checked(state) : "Looking for files…"] : state.phase === "count" ? state.texts : []);
    part("count").textContent = counts ? "Stop" : "Count files";
    part("folder").disabled = counts;
    part("result").hidden = !count;
    part("start").hidden = !count;
    part("count").classList.toggle("strong", !count);
    if (!count) return;
    const kinds = Object.entries(count.kinds).map(([kind, n]) => make("li", { textContent: n === 1 ? KINDS[kind][0] : `${text(n)} ${KINDS[kind][1]}` }));
    const row = (label, value) => [make("dt", { textContent: label }), make("dd", {}, value)];
    const fresh = make("ul", {}, ...kinds, make("li", { textContent: count.added ? count.size : "Nothing" }));
    part("counts").replaceChildren(
      ...row("New", fresh),
      ...(count.known ? row("Already in the library", text(count.known)) : []),
      ...(count.skipped ? row("Without generation metadata", text(count.skipped)) : []),
      ...(count.failed ? row("Unreadable", text(count.failed)) : []),
    );
    part("all").parentElement.hidden = !count.skipped;
    startShown(count);
    window.comfy.translate($("#importing"));
  }
  /** @param {{ added: number, skipped: number }} count */
  function startShown(count) {
    const files = count.added + (part("all").checked ? count.skipped : 0);
    part("start").disabled = !files;
    part("start").textContent = files === 1 ? "Import 1 file" : `Import ${text(files)} files`;
    part("all").onchange = () => startShown(count);
  }
  function open() {
    const folder = make("input", { type: "text", name: "folder", ariaLabel: "Folder on this machine", placeholder: "ComfyUI/output", autocomplete: "off" });
    const count = async () => {
      const counts = folder.disabled;
      show(await post(counts ? "library/import/stop" : "library/import/count", counts ? {} : { folder: folder.value }));
      if (counts) folder.focus();
    };
    const start = async () => {
      const state = await post("library/import", { folder: folder.value, generated_only: !part("all").checked });
      if (!state) return;
      box.close();
      ran = true;
      show(state);
    };
    const acts = [
      make("button", { type: "button", className: "act strong", textContent: "Count files", onclick: count }),
      make("button", { type: "button", className: "act strong", hidden: true, onclick: start }),
    ];
    const all = make("label", { className: "check", hidden: true }, make("input", { type: "checkbox" }), make("span", { textContent: "Import files without generation metadata as well" }));
    const result = make("div", { hidden: true, className: "counted" }, make("dl", {}), all);
    const box = dialog(
      "importing", "Import a folder",
      make("h2", { textContent: "Import a folder" }),
      make("p", { className: "quiet", textContent: "Adds its images, videos and audio files to the library, with the prompts and seeds stored in them. The files stay where they are. Links and hidden files are left out." }),
      make("label", {}, make("span", { textContent: "Folder on this machine" }), folder),
      make("progress", { hidden: true, ariaLabel: "Files checked" }),
      make("p", { className: "quiet said", role: "status" }),
      result,
      make("div", { className: "acts" }, ...acts),
    );
    for (const [element, name] of [[folder, "folder"], [$("progress", box), "progress"], [$(".said", box), "said"], [result, "result"], [$("dl", box), "counts"], [$("input", all), "all"], [acts[0], "count"], [acts[1], "start"]]) element.dataset.part = name;
    folder.oninput = () => {
      result.hidden = acts[1].hidden = true;
      acts[0].classList.add("strong");
    };
    folder.onkeydown = (event) => void (event.key === "Enter" && (acts[1].hidden ? count() : acts[1].click()));
    const remove = box.onclose;
    box.onclose = () => {
      if (folder.disabled) post("library/import/stop", {});
      remove();
    };
    folder.focus();
  }
  Object.assign(window.comfy.actions, {
    async "import-folder"() {
      if (button().dataset.running) show(await post("library/import/stop", {}));
      else open();
    },
    async "undo-import"() {
      ran = true;
      show(await post("library/import/undo", {}));
    },
  });
  window.comfy.folderImport = { look };
})();
