// @ts-check
// Upload fields of the form: files chosen or dropped, with a preview of images.
"use strict";
(() => {
  const { $, $$, make, setField } = window.comfy.kit;

  /** Show the chosen image instead of the generated name of its upload. @param {AnyElement} box */
  function pictured(box) {
    const name = $("input[type=hidden]", box).value;
    const shown = name.startsWith("ui-") && ["image", "mask"].includes(box.dataset.uploadKind);
    const src = shown ? `uploads/${encodeURIComponent(name)}` : null;
    const old = $(".upload-face img", box);
    if ((old?.getAttribute("src") ?? null) === src) return;
    old?.remove();
    if (!src) return;
    const picture = make("img", { src, alt: "" });
    picture.onerror = () => picture.remove();
    $(".upload-face", box).prepend(picture);
  }
  /**
   * @param {AnyElement} box
   * @param {string} name
   * @param {string} trouble
   */
  function uploadShown(box, name, trouble = "") {
    $(".upload-name", box).textContent = trouble || name || "Choose a file or drop it here";
    box.classList.toggle("filled", Boolean(name));
    box.classList.toggle("failed", Boolean(trouble));
  }
  /**
   * @param {AnyElement} box
   * @param {File} file
   */
  async function upload(box, file) {
    uploadShown(box, "", `Sending ${file.name} …`);
    box.classList.remove("failed");
    try {
      const answer = await fetch(`uploads?role=${box.dataset.uploadKind}`, { method: "POST", body: file });
      const uploaded = await answer.json();
      if (!answer.ok) throw new Error(uploaded.error);
      setField($("input[type=hidden]", box).name, uploaded.name);
      uploadShown(box, file.name);
    } catch (error) {
      uploadShown(box, "", error instanceof Error ? error.message : String(error));
    }
  }

  window.comfy.actions["clear-upload"] = (button) => {
    const box = button.closest(".upload");
    setField($("input[type=hidden]", box).name, "");
    uploadShown(box, "");
  };
  window.comfy.onIsland((element) => $$("form.settings .upload", element).forEach(pictured));
  document.addEventListener("input", (/** @type {On<Event>} */ event) => {
    const box = event.target.closest?.("form.settings .upload");
    if (box) pictured(box);
  });
  document.addEventListener("change", (/** @type {On<Event>} */ event) => {
    const field = event.target;
    if (field.dataset?.upload !== undefined && field.files?.[0]) upload(field.closest(".upload"), field.files[0]);
  });
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (/** @type {any} */ event) => {
      const box = event.target.closest?.(".upload");
      if (!box || !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (name === "drop" && event.dataTransfer.files[0]) upload(box, event.dataTransfer.files[0]);
    });
  }
})();
