// Puts the built page where the package keeps it: `lstmcore explain` fills in the numbers.
import { copyFileSync } from "node:fs";

const from = new URL("dist/index.html", import.meta.url);
copyFileSync(from, new URL("../../lstmcore/debug/explain/page.html", import.meta.url));
