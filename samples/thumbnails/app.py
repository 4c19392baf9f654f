"""Makes a thumbnail of a photo that arrives in the event: Pillow travels in the deployment package."""

import base64
import io
import time

from PIL import Image, ImageOps

STARTED = time.time()


def handler(event, context):
    """Return a JPEG thumbnail, at most ``size`` pixels wide and high, of ``photo`` (base64)."""
    photo = Image.open(io.BytesIO(base64.b64decode(event["photo"])))
    thumbnail = ImageOps.exif_transpose(photo).convert("RGB")
    thumbnail.thumbnail((event.get("size", 128), event.get("size", 128)))
    out = io.BytesIO()
    thumbnail.save(out, "JPEG", quality=85)
    print(f"{photo.width}x{photo.height} {photo.format} became {thumbnail.width}x{thumbnail.height}")
    return {
        "thumbnail": base64.b64encode(out.getvalue()).decode(),
        "width": thumbnail.width,
        "height": thumbnail.height,
        "remaining_ms": context.get_remaining_time_in_millis(),
    }
