import { readFileSync } from "node:fs";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";
import { equations } from "./equations.js";

const DERIVATION = new URL("../derivation.md", import.meta.url);

/** `import equations from "virtual:equations"`: the equations of docs/derivation.md, as MathML. */
const fromDerivation = {
  name: "equations",
  resolveId: (id) => (id === "virtual:equations" ? `\0${id}` : null),
  load: (id) =>
    id === "\0virtual:equations"
      ? `export default ${JSON.stringify(equations(readFileSync(DERIVATION, "utf-8")))}`
      : null,
};

export default defineConfig({
  plugins: [fromDerivation, svelte(), viteSingleFile({ removeViteModuleLoader: true })],
  build: { outDir: "dist", target: "es2022", modulePreload: false },
});
