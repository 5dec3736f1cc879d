// A photograph by the camera of a computer, in a dialog; telephones have a better one behind a file input.

/** Whether a live picture can be shown here; else the browser's own chooser has to do. */
export function hasViewfinder() {
  return Boolean(navigator.mediaDevices?.getUserMedia) && !matchMedia("(pointer: coarse)").matches;
}

/** Show the camera's picture in `dialog`; return the photograph that is taken, or null. */
export async function taken(dialog) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
  const video = dialog.querySelector("video");
  try {
    video.srcObject = stream;
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    return dialog.returnValue === "take" ? await still(video) : null;
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  }
}

async function still(video) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  return new File([blob], "photograph.jpg", { type: "image/jpeg" });
}
