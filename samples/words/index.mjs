// Counts words: an ES module with an asynchronous handler.
import { createHash } from "node:crypto";

let calls = 0;

export const handler = async (event, context) => {
  calls += 1;
  const words = String(event.text ?? "").toLowerCase().match(/\p{L}+/gu) ?? [];
  const counts = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  console.log(`counted ${words.length} words`);
  return {
    words: words.length,
    counts,
    digest: createHash("sha256").update(String(event.text)).digest("hex"),
    calls,
    requestId: context.awsRequestId,
  };
};
