// A photo before it is sent: what it is, and a smaller one where it is larger than needed.

import { Problem } from "./problem.js";
import { settings } from "./settings.js";

const QUALITY = 0.92;
const HEIF = /^(hei[cmsx]|hev[cmx]|mif1|msf1|avi[fs])$/;

/** The type that the first bytes show; null if the API takes no such file. A file's name may be wrong. */
export async function typeOf(file) {
  const bytes = new Uint8Array(await file.slice(0, 12).arrayBuffer());
  const text = String.fromCharCode(...bytes);
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return "image/jpeg";
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (text.startsWith("RIFF") && text.slice(8) === "WEBP") return "image/webp";
  if (text.slice(4, 8) === "ftyp" && HEIF.test(text.slice(8))) return "image/heif";
  return null;
}

/**
 * Look at a file that the user chose; return what to send, and a picture of it for the page.
 *
 * A photo that is longer than the stack passes on is made smaller here: that saves the upload, not the quality. It
 * becomes upright. A HEIC is sent as it is, because few browsers can open it.
 */
export async function prepare(file) {
  const type = await typeOf(file);
  if (!file.size) throw new Problem("photo_empty");
  if (!type) throw new Problem("photo_unsupported");
  const shown = await picture(file);
  if (!shown && type !== "image/heif") throw new Problem("photo_unreadable");
  try {
    return { ...(await shrink(file, type, shown)), name: file.name, shown };
  } catch (problem) {
    forget({ shown });
    throw problem;
  }
}

/** Free the memory of a prepared photo that is not shown. */
export const forget = ({ shown }) => shown && URL.revokeObjectURL(shown.src);

async function shrink(file, type, shown) {
  let blob = file;
  if (shown && type !== "image/heif") {
    const longest = Math.max(shown.naturalWidth, shown.naturalHeight);
    const tooLong = settings.maxPhotoEdge && longest > settings.maxPhotoEdge;
    if (tooLong || file.size > settings.maxUploadBytes) blob = (await smaller(shown, longest)) ?? file;
    if (blob.size >= file.size) blob = file;
  }
  if (blob.size > settings.maxUploadBytes) throw new Problem("photo_too_large");
  return { blob, type: blob === file ? type : "image/jpeg" };
}

/** A decoded image of the file, or null. */
async function picture(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    await image.decode();
    return image;
  } catch {
    URL.revokeObjectURL(image.src);
    return null;
  }
}

/** The image as a JPEG, upright and not longer than the stack passes on; null if the browser cannot. */
async function smaller(image, longest) {
  const scale = Math.min(1, (settings.maxPhotoEdge || longest) / longest);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(image.naturalWidth * scale);
  canvas.height = Math.round(image.naturalHeight * scale);
  const brush = canvas.getContext("2d");
  if (!brush) return null;
  brush.fillStyle = "white"; // where the photo is transparent, as the stack does
  brush.fillRect(0, 0, canvas.width, canvas.height);
  brush.imageSmoothingQuality = "high";
  brush.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}
