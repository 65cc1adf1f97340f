// The state of the page in its address: #dc[1,0], #eq12&t=1, #W_hh[0,2]&cell=gru&padding&tab=all
export function written(page) {
  const parts = [page.asked];
  if (page.key !== page.data.first) parts.push(`cell=${page.key}`);
  if (page.masked && page.data.steps[page.key].plain) parts.push("padding");
  if (page.tab !== "tour") parts.push(`tab=${page.tab}`);
  return `#${parts.join("&")}`;
}

export function reading(page, hash) {
  let text = hash.slice(1);
  try {
    text = decodeURIComponent(text);
  } catch {
    // a per cent sign that means nothing: taken as it stands
  }
  const [asked, ...rest] = text.split("&");
  const given = new Map(rest.map((each) => each.split("=")));
  const wanted = given.get("cell");
  const key = Object.hasOwn(page.data.steps, wanted) ? wanted : page.data.first;
  if (key !== page.key || given.has("padding") !== page.masked) page.choose(key, given.has("padding"));
  page.tab = given.get("tab") ?? "tour";
  const equation = /^eq(\d+)$/.exec(asked);
  if (equation) {
    const t = Number(given.get("t") ?? page.t);
    const { graph } = page;
    const found = [...graph.first].filter(([, id]) => page.cited(id) === Number(equation[1]));
    const [name] = found.find(([, id]) => graph.step[id] === t) ?? found[0] ?? [];
    if (name) page.ask(name);
  } else if (asked) page.ask(asked);
}
