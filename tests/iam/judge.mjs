// Judges requests with iam-simulate. Reads {account, policies, decisions} as JSON on stdin; writes one verdict for each
// decision: "Allowed", "ImplicitlyDenied", "ExplicitlyDenied", or the error that the simulator found in the request.
import { readFileSync } from "node:fs";
import { runSimulation } from "@cloud-copilot/iam-simulate";

const { account, policies, decisions } = JSON.parse(readFileSync(0, "utf8"));
const verdicts = [];
for (const { role, action, resource, keys } of decisions) {
  const answer = await runSimulation(
    {
      request: {
        principal: `arn:aws:iam::${account}:role/${role}`,
        action,
        resource: { resource, accountId: account },
        contextVariables: keys,
      },
      identityPolicies: policies[role].map((policy, place) => ({ name: `${role}-${place}`, policy })),
      serviceControlPolicies: [],
      resourceControlPolicies: [],
    },
    {},
  );
  verdicts.push(answer.resultType === "error" ? JSON.stringify(answer.errors) : answer.overallResult);
}
process.stdout.write(JSON.stringify(verdicts));
