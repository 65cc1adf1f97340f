// The built page in a real browser: node test/browser.js PAGE TRUTH CHROMIUM
//
// PAGE is what `lstmcore explain` wrote; TRUTH what the engine itself says, as tests/debug/explain/test_browser.py
// writes it: { values: { step: { plain: {name: value}, masked: ... } }, lines: likewise, [file:line, equation],
// edits: [{ step, masked, edits: {name: value}, values: {name: value} }], long: {...} }.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { launch, violations } from "./chromium.js";

const [, , file, truthFile, executablePath] = process.argv;
const truth = JSON.parse(readFileSync(truthFile, "utf-8"));
const address = pathToFileURL(file).href;
const EPS = 2 ** -52;

/** Numbers written with a true minus sign. */
const number = (text) => Number(text.replaceAll("−", "-"));
const near = (got, want, scale, what) => assert.ok(Object.is(got, want) || Math.abs(got - want) <= 4 * EPS * scale, `${what}: ${got}, the engine says ${want}`);
const largest = (values) => Math.max(1, ...Object.values(values).map(Math.abs));

const tests = {
  async "it needs no network and complains of nothing"(page, seen) {
    assert.deepEqual(seen.requests, [address]);
    assert.deepEqual(seen.complaints, []);
    await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length);
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
    assert.ok(paint < 5000, `first paint after ${paint} ms`);
  },

  async "every number says what the engine says, when it is clicked"(page) {
    await go(page, "#h[0,0]&tab=all");
    const found = await page.evaluate(async () => {
      const answers = {};
      for (const name of [...document.querySelectorAll("#lab .num")].map(({ dataset }) => dataset.name)) {
        const button = document.querySelector(`#lab .num[data-name="${name}"]`);
        button.click();
        for (let turn = 0; turn < 4; turn++) await null; // the page is up to date, and need not be painted
        const text = (role) => document.querySelector(`#inspector [data-role=${role}]`)?.textContent ?? "";
        const equation = document.querySelector("#inspector p[id^=eq]")?.id ?? "";
        const back = button.classList.contains("back");
        answers[name] = { value: text("value"), line: text("line"), equation, button: button.textContent, back };
      }
      return answers;
    });
    const want = truth.values.lstm.plain;
    assert.deepEqual(Object.keys(found).sort(), Object.keys(want).sort());
    for (const [name, answer] of Object.entries(found)) {
      near(number(answer.value), want[name], largest(want), name);
      const [place, equation] = truth.lines.lstm.plain[name];
      assert.equal(answer.line, place, name);
      assert.equal(answer.back, /^d[A-Za-z]/.test(name), `the colour of ${name}`);
      assert.equal(answer.equation, equation ? `eq${equation}` : "", name);
      if (equation) assert.match(answer.button, new RegExp(`equation ${equation}$`));
    }
  },

  async "the other cells, and padding, say what the engine says"(page) {
    for (const step of Object.keys(truth.values))
      for (const way of ["plain", "masked"]) {
        await go(page, `#h[0,0]&cell=${step}${way === "masked" ? "&padding" : ""}&tab=tour`);
        const found = await page.evaluate(() => {
          const { page } = window.lstmcore;
          const line = (id) => page.graph.at[id].map((site) => page.graph.sites[site].slice(0, 2).join(":"))[0] ?? "";
          return [...page.graph.names].map(([name, id]) => [name, page.values[id], line(id), page.cited(id)]);
        });
        const want = truth.values[step][way];
        assert.equal(found.length, Object.keys(want).length);
        for (const [name, value, line, equation] of found) {
          near(value, want[name], largest(want), `${step} ${way} ${name}`);
          assert.deepEqual([line, equation], truth.lines[step][way][name], name);
        }
      }
  },

  async "edits are computed as the engine computes them"(page) {
    let open = "";
    for (const each of truth.edits) {
      const hash = `#h[0,0]&cell=${each.step}${each.masked ? "&padding" : ""}`;
      if (hash !== open) await go(page, (open = hash));
      const got = await page.evaluate((edits) => {
        const { page } = window.lstmcore;
        page.edits = new Map(Object.entries(edits));
        return Object.fromEntries([...page.graph.names].map(([name, id]) => [name, page.values[id]]));
      }, each.edits);
      const scale = largest(got); // of all that the step computes with: each rounds by its own size
      for (const [name, want] of Object.entries(each.values)) near(got[name], want, scale, `${each.step} ${name}`);
    }
  },

  async "a difference quotient proves every gradient, and an edit does not mislead it"(page) {
    for (const step of Object.keys(truth.values)) {
      await go(page, `#h[0,0]&cell=${step}`);
      const worst = await page.evaluate((edited) => {
        const { page, prove } = window.lstmcore;
        page.editAll(edited);
        const found = [...page.graph.names.keys()].map((name) => [name, prove(page.graph, page.changed, name)]);
        page.edits = new Map();
        return found.filter(([, p]) => p && p.engine !== null && !p.padding).map(([name, p]) => [Math.abs(p.engine - p.numeric), name]).sort((a, b) => b[0] - a[0]);
      }, [["x[1,0]", 0.77], ["W_hh[0,1]", -1.3]]);
      assert.ok(worst.length > 60);
      assert.ok(worst[0][0] < 1e-7, `${step}: ${worst[0]}`);
    }
    await go(page, "#dW_hh[0,2]");
    await page.click("text=prove");
    assert.match(await page.textContent("[data-role=proof]"), /They agree/);
  },

  async "a weight is dragged, and all follows"(page) {
    await go(page, "#W_hh[0,2]&tab=edit");
    const before = await page.textContent(".edge .num[data-name=L] .value");
    await page.fill("#inspector input[type=number]", "2.5");
    await page.keyboard.press("Tab");
    assert.notEqual(await page.textContent(".edge .num[data-name=L] .value"), before);
    assert.equal(await page.textContent("#inspector [data-role=value]"), "2.5");
    await page.click("text=prove");
    assert.match(await page.textContent("[data-role=proof]"), /They agree/);
    await page.click("text=as it was");
    assert.equal(await page.textContent(".edge .num[data-name=L] .value"), before);
  },

  async "time is scrubbed to its end, by keys"(page) {
    await go(page, "#c[1,0]");
    const slider = page.locator(".scrubber input");
    await slider.focus();
    await page.keyboard.press("Home");
    assert.equal(await page.locator(".num.hidden").count() > 50, true);
    await page.keyboard.press("ArrowRight");
    assert.match(await page.textContent(".scrubber output"), /\(1\) a of step 0, 1 of/);
    await page.keyboard.press("End");
    assert.equal(await page.locator(".num.hidden").count(), 0);
    assert.match(await page.textContent(".scrubber output"), /all is computed/);
  },

  async "the address holds what is seen"(page) {
    await go(page, "#dc[1,1]&cell=gru&tab=mask");
    await go(page, "#dc[1,1]&cell=gru&tab=mask", "#W_hh[0,2]&tab=edit"); // the page's own writing comes between
    assert.equal(await page.evaluate(() => window.lstmcore.page.key), "gru");
    await go(page, "#eq12&t=2&cell=lstm");
    await page.waitForFunction(() => /^#dc_prev\[2,/.test(decodeURIComponent(location.hash)));
    await go(page, "#W_hh[1,3]&tab=tour");
    assert.equal(await page.textContent("#inspector [data-role=value]"), String(truth.values.lstm.plain["W_hh[1,3]"]).replace("-", "−"));
    await page.click(".chain .num[data-name='c[2,0]']");
    await page.waitForFunction(() => decodeURIComponent(location.hash) === "#c[2,0]");
  },

  async "the tour is taken by the keyboard alone"(page) {
    await go(page, "#c[1,0]&tab=tour");
    await page.locator("#tab-tour").focus();
    for (let stop = 1; stop <= 8; stop++) {
      await tabTo(page, "show the answer");
      await page.keyboard.press("Enter");
      assert.ok((await page.textContent("[data-role=told]")).length > 60);
      if (stop < 8) {
        await tabTo(page, "next");
        await page.keyboard.press("Enter");
        await page.locator("#tab-tour").focus();
      }
    }
    assert.match(await page.textContent("#lab h3"), /^8\./);
  },

  async "the triangle leaves out what chunks leave out"(page) {
    await go(page, "#h[0,0]&tab=triangle");
    await page.click("text=chunks of 2");
    const told = Number((await page.textContent("[data-role=missing]")).replace(" %", ""));
    assert.ok(Math.abs(told - truth.chunks) <= 0.5, `${told} % for ${truth.chunks} %`);
    assert.equal(await page.locator(".pair.out").count(), 4);
    await page.click("text=all of it");
    assert.equal(await page.textContent("[data-role=missing]"), "0.0 %");
  },

  async "long sequences vanish as the engine's do"(page) {
    for (const [cell, want] of Object.entries(truth.long)) {
      for (const padding of ["", "&padding"]) {
        await go(page, `#h[0,0]&cell=${cell}${padding}&tab=vanish`);
        const got = await page.evaluate((T) => {
          const { page, long, input } = window.lstmcore;
          const wider = [...page.graph.first].filter(([name]) => name.startsWith("W_hh[")).map(([, id]) => [id, 1.5 * page.right[id]]);
          return long(page.graph, new Map(wider), Array.from({ length: T }, (_, s) => input(s, 1)));
        }, want.dh.length);
        for (const [name, sizes] of Object.entries(want))
          sizes.forEach((size, s) => assert.ok(Math.abs(got[s][name] - size) <= 1e-12 * size + 1e-300, `${cell}${padding} ${name} ${s}: ${got[s][name]}, ${size}`));
      }
    }
  },

  async "nothing covers anything in the pictures"(page) {
    for (const step of Object.keys(truth.values))
      for (const way of ["", "&padding"]) {
        await go(page, `#h[2,0]&cell=${step}${way}&tab=tour`);
        assert.deepEqual(await page.evaluate(crowded), [], `${step}${way}`);
      }
    await page.evaluate(() => window.lstmcore.page.editAll([["W_hh[0,2]", -1234.5]])); // longer numbers
    assert.deepEqual(await page.evaluate(crowded), []);
  },

  async "a field takes numbers alone, and back leads to the question before"(page) {
    await go(page, "#W_hh[0,2]&tab=edit");
    const value = () => page.textContent("#inspector [data-role=value]");
    for (const [typed, kept] of [["0", "0"], ["", "0"], ["1e308", "1e+308"], ["-7", "−7"]]) {
      await page.fill("#inspector input[type=number]", typed);
      await page.keyboard.press("Tab");
      assert.equal(await value(), kept);
    }
    await page.waitForFunction(() => decodeURIComponent(location.hash) === "#W_hh[0,2]&tab=edit");
    for (const name of ["c[2,0]", "dc[1,0]"]) {
      await page.click(`.chain .num[data-name='${name}']`);
      await page.waitForFunction((name) => decodeURIComponent(location.hash).startsWith(`#${name}&`), name);
    }
    await page.goBack();
    await page.waitForFunction(() => window.lstmcore.page.asked === "c[2,0]");
    await go(page, "#%&cell=constructor&tab=constructor");
    assert.equal(await page.evaluate(() => window.lstmcore.page.key), "lstm");
    await go(page, "#h[0,0]&tab=break");
    await page.click("text=/^quiz/");
    await page.evaluate(() => window.lstmcore.page.edit("b[0]", 1)); // which ends it
    await page.click("text=open it");
    assert.match(await page.textContent("#lab"), /^Mistakes that people made/);
  },

  async "NaN in the padding moves nothing"(page) {
    await go(page, "#h[0,0]&padding&tab=mask");
    await page.click("text=put NaN into the padding");
    assert.match(await page.textContent("[data-role=moved]"), /Nothing has moved/);
    assert.equal(await page.textContent("table .num[data-name='x[2,0]'] .value"), "NaN");
    await page.click("text=take the NaN out");
    await page.click("text=step 1: real");
    assert.equal(await page.textContent("table .num[data-name='da_i[1,0]'] .value"), "0");
  },

  async "a mistake shows, and the quiz is played"(page) {
    await go(page, "#h[0,0]&tab=break");
    await page.selectOption("#lab select", { label: "the carry of dc forgets the forget gate" });
    assert.match(await page.textContent("#lab .bad pre"), /dc_prev = dc {2}#/);
    assert.ok((await page.locator(".num.wrong").count()) > 10);
    await page.click("text=prove"); // the first wrong number is asked for
    assert.match(await page.textContent("[data-role=proof]"), /They differ/);
    await page.click("text=/^quiz/");
    for (let question = 0; question < 10; question++) {
      const line = await page.evaluate(() => window.lstmcore.page.mistake.right.split("\n")[0]);
      await page.locator(".choice", { hasText: line }).first().click();
      await page.getByRole("button", { name: "next", exact: true }).click();
    }
    assert.equal(await page.textContent("[data-role=score]"), "10 of 10");
    assert.equal(await page.locator(".num.wrong").count(), 0);
  },
};

/**
 * What is cut off or covers something else, of numbers and of the words beside them. Pictures of the page are not
 * compared: a letter of another font would change them all. What would spoil them is looked for by itself.
 */
function crowded() {
  const found = [];
  for (const picture of document.querySelectorAll(".chain, .cell")) {
    const inside = picture.getBoundingClientRect();
    const boxes = [...picture.querySelectorAll(".num, .word, .sum, .step, .road-name")].map((each) => [each, each.getBoundingClientRect()]);
    boxes.forEach(([a, one], n) => {
      const name = `${picture.className.split(" ")[0]} ${a.dataset.name ?? a.textContent.trim()}`;
      if (a.scrollWidth > a.clientWidth + 2) found.push(`${name} does not fit in`);
      if (one.left < inside.left - 1 || one.right > inside.right + 1) found.push(`${name} is cut off`);
      for (const [b, two] of boxes.slice(n + 1))
        if (!a.contains(b) && Math.min(one.right, two.right) - Math.max(one.left, two.left) > 2 && Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top) > 2)
          found.push(`${name} and ${b.dataset.name ?? b.textContent.trim()}`);
    });
    for (const road of picture.querySelectorAll("line")) {
      const [from, to] = [0, road.getTotalLength()].map((at) => road.getPointAtLength(at).matrixTransform(road.getScreenCTM()));
      for (const word of picture.querySelectorAll("text")) {
        const box = word.getBoundingClientRect();
        for (let part = 0; part <= 1; part += 0.005) {
          const [x, y] = [from.x + part * (to.x - from.x), from.y + part * (to.y - from.y)];
          if (x > box.left && x < box.right && y > box.top + 1 && y < box.bottom - 1) {
            found.push(`a road through "${word.textContent}"`);
            break;
          }
        }
      }
    }
  }
  return found;
}

/** Opens an address of the page, with nothing edited. */
async function go(page, hash, between) {
  await page.evaluate(() => (window.lstmcore.page.edits = new Map()));
  await page.evaluate(([to, between]) => {
    history.replaceState(null, "", "#"); // the page writes its address a little later
    return new Promise((resolve) => {
      addEventListener("hashchange", () => setTimeout(resolve), { once: true });
      location.hash = to;
      if (between) history.replaceState(null, "", between);
    });
  }, [hash, between]);
}

/** Presses Tab until the button with that text has the focus. */
async function tabTo(page, text) {
  for (let presses = 0; presses < 40; presses++) {
    await page.keyboard.press("Tab");
    if ((await page.evaluate(() => document.activeElement.textContent.trim())) === text) return;
  }
  assert.fail(`no key leads to ${text}`);
}

const browser = await launch(executablePath);
let failed = 0;
try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce" });
  const seen = { requests: [], complaints: [] };
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && seen.complaints.push(message.text()));
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  await page.goto(address);
  for (const [name, test] of Object.entries(tests)) {
    const start = performance.now();
    try {
      await test(page, seen);
      assert.deepEqual(seen.complaints, []);
      console.log(`ok      ${name} (${Math.round(performance.now() - start)} ms)`);
    } catch (error) {
      failed++;
      console.log(`FAILED  ${name}: ${error.message}`);
    }
  }
  const found = [];
  for (const scheme of ["light", "dark"])
    for (const width of [360, 768, 1440]) {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      await page.setViewportSize({ width, height: 900 });
      for (const tab of ["tour", "edit", "triangle", "vanish", "mask", "break", "all"]) {
        if (width !== 1440 && tab === "all") continue; // as many numbers once more
        if (width === 768 && tab !== "tour") continue;
        await go(page, `#dc[1,0]&tab=${tab}${tab === "mask" ? "&padding" : ""}`);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (wide > 0) found.push(`${scheme} ${width} ${tab}: ${wide} px too wide`);
        const whole = (width === 360 && scheme === "light") || (width === 1440 && scheme === "dark");
        if (whole || tab === "tour")
          found.push(...(await violations(page, tab === "tour" ? null : "#lab")).map((each) => `${scheme} ${width} ${tab}: ${each}`));
      }
    }
  const name = "no violation of accessibility, at no width, light or dark";
  console.log(found.length ? `FAILED  ${name}:\n${found.join("\n")}` : `ok      ${name}`);
  failed += found.length ? 1 : 0;
} finally {
  await browser.close();
}
process.exit(failed ? 1 : 0);
