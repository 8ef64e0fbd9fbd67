// @ts-check
// Results that leave the page as files: dragged out of the browser, or sent by the system's own share sheet.
"use strict";
(() => {
  const { $$, toast } = window.comfy.kit;
  const MOST = 10; // files that are held in memory at a time

  // A result that is dragged to a folder or another program is its original file (Chromium).
  document.addEventListener("dragstart", (/** @type {On<DragEvent>} */ event) => {
    const thumb = event.target.closest?.(".thumb");
    if (!thumb || !event.dataTransfer) return;
    const url = new URL(`${thumb.dataset.src}?download`, document.baseURI).href;
    event.dataTransfer.setData("DownloadURL", `application/octet-stream:${thumb.dataset.name}:${url}`);
    event.dataTransfer.setData("text/uri-list", url);
    event.dataTransfer.effectAllowed = "copy";
  });

  const shares = Boolean(navigator.canShare?.({ files: [new File(["."], "a.png", { type: "image/png" })] }));
  /** The files that were loaded last, for a second press: loading may outlast the first. @type {{ ids: string, files: File[] } | null} */
  let loaded = null;

  /** @param {AnyElement} thumb */
  async function fileOf(thumb) {
    const answer = await fetch(thumb.dataset.src);
    if (!answer.ok) throw new TypeError("no file");
    const content = await answer.blob();
    return new File([content], thumb.dataset.name, { type: content.type });
  }
  /** @param {AnyElement[]} thumbs */
  async function share(thumbs) {
    if (thumbs.length > MOST) return toast("Share up to 10 results at a time");
    const ids = thumbs.map((thumb) => thumb.dataset.open).join();
    try {
      if (loaded?.ids !== ids) loaded = { ids, files: await Promise.all(thumbs.map(fileOf)) };
      if (!navigator.canShare({ files: loaded.files })) return toast("This browser cannot share such a file");
      await navigator.share({ files: loaded.files });
      loaded = null;
    } catch (error) {
      const name = error instanceof Error ? error.name : "";
      if (name === "AbortError") return; // closed by the user
      toast(name === "NotAllowedError" ? "Ready. Press Share again" : "The file could not be loaded");
    }
  }

  Object.assign(window.comfy.actions, {
    "share-shown": () => share([window.comfy.shownThumb()]),
    "share-picked": () => share($$(".library .tile.on .thumb")),
  });
  if (shares) document.documentElement.classList.add("shares-files");
})();
