// @ts-check
// Upload fields of the form: files and folders chosen or dropped, with a preview of images.
"use strict";
(() => {
  const { $, $$, make, setField, toast } = window.comfy.kit;

  const MOST = 64; // MAX_CELLS in workflow/grid_axes.py
  const MOST_READ = 2000; // in a dropped folder
  const AT_ONCE = 3;
  const FACES = 4;
  const hidden = (/** @type {AnyElement} */ box) => $("input[type=hidden]", box);
  // The value has one file to a line: the name of its upload and, after a tab, its own name.
  const uploadsOf = (/** @type {AnyElement} */ box) => hidden(box).value.split("\n").filter(Boolean).map((/** @type {string} */ line) => line.split("\t")[0]);

  /** Show the chosen images instead of the generated names of their uploads. @param {AnyElement} box */
  function pictured(box) {
    const kind = ["image", "mask"].includes(box.dataset.uploadKind);
    const names = uploadsOf(box).filter((name) => kind && name.startsWith("ui-"));
    const sources = names.slice(0, FACES).map((name) => `uploads/${encodeURIComponent(name)}`);
    box.classList.toggle("many", uploadsOf(box).length > 1);
    const old = $$(".upload-face img", box);
    if (old.map((image) => image.getAttribute("src")).join() === sources.join()) return;
    for (const image of old) image.remove();
    $(".upload-face", box).prepend(...sources.map((src) => make("img", { src, alt: "", onerror: (/** @type {any} */ event) => event.target.remove() })));
  }
  /**
   * @param {AnyElement} box
   * @param {string} name
   * @param {string} trouble
   */
  function uploadShown(box, name, trouble = "") {
    $(".upload-name", box).textContent = trouble || name || "Choose files or drop them here";
    box.classList.toggle("filled", Boolean(name));
    box.classList.toggle("failed", Boolean(trouble));
  }
  /** @param {AnyElement} box @param {File} file */
  async function send(box, file) {
    const answer = await fetch(`uploads?role=${box.dataset.uploadKind}`, { method: "POST", body: file });
    const uploaded = await answer.json();
    if (!answer.ok) throw new Error(uploaded.error);
    return uploaded.name;
  }
  const reason = (/** @type {unknown} */ error) => (error instanceof Error ? error.message : String(error));
  /**
   * @param {AnyElement} box
   * @param {File} file
   */
  async function upload(box, file) {
    uploadShown(box, "", `Sending ${file.name} …`);
    box.classList.remove("failed");
    try {
      setField(hidden(box).name, await send(box, file));
      uploadShown(box, file.name);
    } catch (error) {
      uploadShown(box, "", reason(error));
    }
  }
  /** Upload several files, a job for each: in their order, without those that cannot be read. @param {AnyElement} box @param {File[]} files */
  async function uploadMany(box, files) {
    if (files.length > MOST) return toast(`${files.length} files are too many. A field takes ${MOST} at most.`);
    /** @type {string[]} */
    const lines = [];
    /** @type {string[]} */
    const refused = [];
    let [next, sent] = [0, 0];
    box.classList.remove("failed");
    const worker = async () => {
      while (next < files.length) {
        const at = next++;
        const file = files[at];
        uploadShown(box, "", `Sending ${sent + 1} of ${files.length} files …`);
        box.classList.remove("failed");
        try {
          lines[at] = `${await send(box, file)}\t${file.name.replace(/\s+/g, " ")}`;
        } catch (error) {
          refused.push(`${file.name}: ${reason(error)}`);
        }
        sent += 1;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    const whole = lines.filter(Boolean);
    if (!whole.length) return uploadShown(box, "", refused[0]);
    setField(hidden(box).name, whole.length > 1 ? whole.join("\n") : whole[0].split("\t")[0]);
    uploadShown(box, whole.length > 1 ? `${whole.length} files, a job for each` : whole[0].split("\t")[1]);
    if (refused.length) toast(refused.length === 1 ? refused[0] : `${refused.length} files cannot be used: ${refused[0]}`);
  }
  /** @param {AnyElement} box @param {File[]} files */
  function take(box, files) {
    const accept = $("input[type=file]", box).accept.replace("*", "");
    const fits = (/** @type {File} */ file) => files.length === 1 || file.type.startsWith(accept);
    const fitting = files.filter(fits);
    if (!fitting.length) return files.length ? toast("No file there fits this field") : undefined;
    const others = files.filter((file) => !fits(file) && !file.name.startsWith(".")); // .DS_Store
    if (others.length) toast(others.length === 1 ? `Left out: ${others[0].name}` : `${others.length} files left out, such as ${others[0].name}`);
    fitting.length > 1 ? uploadMany(box, fitting) : upload(box, fitting[0]);
  }
  /** The files of dropped items, those in folders included. @param {DataTransfer} transfer @returns {Promise<File[]>} */
  async function filesOf(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // before the first await
    if (!entries.some((entry) => /** @type {any} */ (entry).isDirectory)) return [...transfer.files];
    /** @type {{ path: string, file: File }[]} */
    const all = [];
    /** @param {any} entry @returns {Promise<void>} */
    const read = async (entry) => {
      if (all.length >= MOST_READ) throw new Error(`The folder has more than ${MOST_READ} files. Drop a smaller one.`);
      if (entry.isFile) return void all.push({ path: entry.fullPath, file: await new Promise((done, fail) => entry.file(done, fail)) });
      const reader = entry.createReader();
      for (;;) {
        const some = await new Promise((done, fail) => reader.readEntries(done, fail)); // 100 at a time
        if (!some.length) return;
        for (const one of some) await read(one);
      }
    };
    for (const entry of entries) await read(entry);
    return all.sort((one, other) => one.path.localeCompare(other.path, undefined, { numeric: true })).map(({ file }) => file);
  }

  window.comfy.actions["clear-upload"] = (button) => {
    const box = button.closest(".upload");
    setField(hidden(box).name, "");
    uploadShown(box, "");
  };
  window.comfy.actions["choose-folder"] = (button) => {
    const input = make("input", { type: "file", webkitdirectory: true });
    input.onchange = () => take(button.closest(".upload"), [...input.files]);
    input.click();
  };
  window.comfy.onIsland((element) => $$("form.settings .upload", element).forEach(pictured));
  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    const box = event.target.closest?.("form.settings .upload");
    if (box) pictured(box);
  });
  document.addEventListener("change", (/** @type {On<Event>} */ event) => {
    const field = event.target;
    if (field.dataset?.upload === undefined || !field.files?.length) return;
    take(field.closest(".upload"), [...field.files]);
    field.value = ""; // so that the same file can be chosen again
  });
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (/** @type {any} */ event) => {
      const box = event.target.closest?.(".upload");
      if (!box || !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (name === "drop") filesOf(event.dataTransfer).then((files) => take(box, files), (error) => toast(error.message));
    });
  }
})();
