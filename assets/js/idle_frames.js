// @ts-check
// No frames while nothing moves. Runs before Gradio's scripts, which keep requestAnimationFrame.
"use strict";
(() => {
  // Gradio's status trackers count seconds in every frame. The first one, of the page while it loads,
  // is removed without being stopped (6.31): its 60 frames a second cost an idle page 12 to 15 % of a
  // core. This page shows none of these seconds, so the frames that count them are not requested.
  const requestFrame = window.requestAnimationFrame.bind(window);
  const COUNTS = /^\(\)\s*=>.*performance\.now\(\).*\/\s*1e3/s;
  window.requestAnimationFrame = (callback) =>
    COUNTS.test(Function.prototype.toString.call(callback)) ? 0 : requestFrame(callback);
})();
