// The first visit: how much can be searched, and the videos themselves.
import * as api from "./api.js";
import { $, h } from "./dom.js";
import { clock, many } from "./wording.js";

const SHOWN = 12;

/** Whether it is on the page. It stays while a video is opened from it: the focus comes back to where it was. */
export const isWelcome = (index) => $("list").firstElementChild?.dataset.welcome === index.name;

export function showWelcome(index, { total, videos }, onOpen) {
  const tile = (video) => {
    const image = h("img", { alt: "", loading: "lazy", decoding: "async", src: api.pictureAddress(index.name, video.video, video.duration / 2) });
    image.addEventListener("load", () => image.classList.add("there"));
    image.addEventListener("error", () => image.remove());
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: "tile", title: video.video, onclick: () => onOpen({ video: video.video, start: 0, end: video.duration }) },
        h("span", { class: "shot" }, image, h("span", { class: "time", textContent: clock(video.duration, false) })),
        h("span", { class: "name", textContent: video.video }),
      ),
    );
  };
  $("list").replaceChildren(
    h(
      "section",
      { class: "welcome", "data-welcome": index.name },
      h("h2", { textContent: "Find the moment, not just the video" }),
      h(
        "p",
        { class: "welcome-about" },
        "Describe what happens in one sentence. ",
        h("strong", { textContent: many(index.moments, "moment") }),
        " of ",
        h("strong", { textContent: many(total, "video") }),
        ` in “${index.name}” can be found${index.calibrated ? ", each with how sure the answer is" : ""}.`,
      ),
      h("h3", { textContent: total > SHOWN ? `The first ${SHOWN} videos` : "The videos" }),
      h("ul", { class: "grid small", role: "list" }, ...videos.slice(0, SHOWN).map(tile)),
    ),
  );
}
