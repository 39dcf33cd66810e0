"""The page's words for failures. They are for users; the API's messages are for client developers.

A failure without words here is shown with the API's message. `tests/unit/test_failures.py` compares the codes with the
API's table, which this function does not carry.
"""

WORDS = {
    "photo_too_large": "This photo is too large. The limit is {limit}. Choose a smaller one.",
    "photo_unsupported": "This file cannot be used. Choose a JPEG, PNG, WebP or HEIC photo.",
    "photo_type_mismatch": "This file has another type than its name says. Save it again as a JPEG, and choose that.",
    "photo_empty": "This file is empty. Choose another one.",
    "photo_unreadable": "This photo is damaged or incomplete. Choose another one, or save it again.",
    "photo_animated": "This photo is animated. Choose a still one.",
    "photo_too_many_pixels": "This photo has too many pixels. Make it smaller, and choose it again.",
    "photo_too_complex": "This photo is stored in an unusual way. Save it again as a JPEG, and choose that.",
    "photo_unopenable": "This photo could not be opened. Save it again as a JPEG, and choose that.",
    "upload_expired": "The photo did not arrive in time. Choose it again.",
    "job_not_found": "These pictures are no longer there.",
    "daily_limit_reached": "You have reached the limit of pictures for one day.",
    "stack_limit_reached": "No more pictures can be made today. Come back tomorrow.",
    "too_many_active_jobs": "Too many of your pictures are still being made. Wait until one of them is ready.",
    "retry_limit_reached": "These pictures have no retry left. Send the photo again.",
    "nothing_to_retry": "None of these pictures can be tried again. Send the photo again.",
    "photo_gone": "That photo is no longer there. Choose it again.",
    "too_many_at_once": "You are sending too many requests. Try again in a moment.",
    "idempotency_key_used": "This photo was sent before with another description. Send it again.",
    "deadline_exceeded": "It was not finished in time. Try again.",
    "content_rejected": "The model would not draw this. Use another photo, or another description.",
    "prediction_failed": "The model could not draw this one. Try again.",
    "prediction_canceled": "The drawing was stopped. Try again.",
    "prediction_aborted": "The model was too busy to begin. Try again in a while.",
    "prediction_lost": "The drawing was lost. Try again.",
    "output_missing": "The model did not return a picture. Try again.",
    "output_unavailable": "The picture could not be downloaded. Try again.",
    "output_too_large": "The picture is larger than the limit. Ask the operator to raise the limit.",
    "output_not_a_picture": "The model did not return a picture. Ask the operator to check the model.",
    "output_host_not_allowed": "The picture is at an address that is not allowed. Ask the operator to check it.",
    "attempts_used": "The drawing service never confirmed this picture. Send the photo again later.",
    "all_images_failed": "No picture could be made. Each frame shows the reason.",
    "replicate_unauthorized": "The drawing service refused access. Ask the operator to renew the token.",
    "replicate_token_unreadable": "The token of the drawing service cannot be read. Ask the operator to check it.",
    "replicate_out_of_credit": "The credit at the drawing service is used up. Ask the operator to add some.",
    "replicate_model_not_found": "The model does not exist. Ask the operator to choose another one.",
    "replicate_input_rejected": "The model does not accept this photo or description. Use another one.",
    "replicate_refused": "The drawing service refused. Try again later.",
    "model_not_configured": "The model is not set up. Ask the operator to set it up.",
    "route_not_found": "This page does not support that.",
    "method_not_allowed": "This page does not support that.",
}
# A retry would use the same photo again, so the page offers none.
NOT_RETRYABLE = (
    "attempts_used",
    "photo_animated",
    "photo_empty",
    "photo_too_complex",
    "photo_too_large",
    "photo_too_many_pixels",
    "photo_type_mismatch",
    "photo_unopenable",
    "photo_unreadable",
    "photo_unsupported",
    "upload_expired",
)
NOT_FOUND = ("route_not_found", "This route does not exist. Check the path.")
