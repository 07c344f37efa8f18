// Colours of the heat map: from dark blue over green to yellow, ever lighter, so that those who see few colours
// read it as well. Chosen in OKLCH with even steps of lightness.

const STEPS = 64;
const STOPS = [
  // share, lightness, chroma, hue
  [0, 0.27, 0.09, 285],
  [0.25, 0.43, 0.11, 255],
  [0.5, 0.6, 0.1, 200],
  [0.75, 0.76, 0.14, 145],
  [1, 0.93, 0.18, 105],
];

function between(share) {
  const upper = Math.max(1, STOPS.findIndex(([at]) => at >= share));
  const [from, to] = [STOPS[upper - 1], STOPS[upper]];
  const part = (share - from[0]) / (to[0] - from[0]);
  const [l, c, hue] = [1, 2, 3].map((n) => from[n] + part * (to[n] - from[n]));
  return `oklch(${l.toFixed(3)} ${c.toFixed(3)} ${hue.toFixed(1)})`;
}

const SCALE = Array.from({ length: STEPS }, (_, n) => between(n / (STEPS - 1)));

/** share: from 0 (least) to 1 (most). */
export const colour = (share) => SCALE[Math.min(STEPS - 1, Math.max(0, Math.round(share * (STEPS - 1))))];
