// `node run.mjs MODULE FUNCTION PHOTO API TOKEN`: call a compiled function, and print what it returns as JSON.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [module, name, photo, ...rest] = process.argv.slice(2);
const functions = await import(pathToFileURL(module).href);
const blob = new Blob([await readFile(photo)], { type: "image/jpeg" });
console.log(JSON.stringify(await functions[name](blob, ...rest)));
