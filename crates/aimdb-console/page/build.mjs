// Bundles the page into ../src/page, which is committed: cargo never calls npm. `.ci/run` builds it again and compares.
import { build } from "esbuild";
import { readFile, writeFile } from "node:fs/promises";

const out = "../src/page";
const common = { bundle: true, minify: true, legalComments: "none", charset: "utf8", logLevel: "warning" };
await build({ ...common, entryPoints: ["src/main.js"], outfile: `${out}/page.js`, format: "iife", target: "es2022" });
await build({ ...common, entryPoints: ["src/page.css"], outfile: `${out}/page.css` });

// The licences of the libraries inside of the bundle.
const parts = ["The script `page.js` contains the following libraries.\n"];
for (const name of ["@dagrejs/dagre", "@dagrejs/graphlib", "uplot"]) {
  const { version } = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
  parts.push(`${name} ${version}\n\n${(await readFile(`node_modules/${name}/LICENSE`, "utf8")).trim()}\n`);
}
await writeFile(`${out}/LICENSES`, parts.join("\n----\n\n"));
