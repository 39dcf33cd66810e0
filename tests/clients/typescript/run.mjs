// `node run.mjs MODULE FUNCTION PHOTO API TOKEN`: call a compiled function, and print what it returns as JSON.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [module, name, photo, ...rest] = process.argv.slice(2);
const functions = await import(pathToFileURL(module).href);
console.log(JSON.stringify(await functions[name](new Blob([await readFile(photo)]), ...rest)));
