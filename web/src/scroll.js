// Keeps the end of the conversation in view while an answer grows, until the reader scrolls up;
// then the view stays where it is and a button leads back to the end.
import { $ } from "./dom.js";

const NEAR_END_PIXELS = 8;

export function makeFollower(list) {
  let follow = true;
  let lastTop = 0;

  function look() {
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END_PIXELS;
    if (atEnd) follow = true;
    else if (list.scrollTop < lastTop) follow = false;
    lastTop = list.scrollTop;
    $("to-end").hidden = follow;
  }

  /** To be called after the conversation grew. */
  function grown() {
    if (follow) list.scrollTop = list.scrollHeight;
    lastTop = list.scrollTop;
  }

  function toEnd() {
    follow = true;
    $("to-end").hidden = true;
    grown();
  }

  list.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(grown).observe(list); // a phone's keyboard opens, the composer grows
  $("to-end").addEventListener("click", () => {
    toEnd();
    list.focus({ preventScroll: true });
  });
  return { grown, toEnd };
}
