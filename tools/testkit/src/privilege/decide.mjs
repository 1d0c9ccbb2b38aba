// Decides requests with an evaluator of IAM policies. Reads a list of requests from standard input and prints a
// list of decisions: "Allowed", "ImplicitlyDenied", "ExplicitlyDenied", or the evaluator's error if AWS has no
// such action or resource.
import { readFileSync } from "node:fs";
import { runSimulation } from "@cloud-copilot/iam-simulate";

const accountId = "000000000000";

async function decide({ policies, action, resource, context }) {
    const result = await runSimulation(
        {
            request: {
                principal: `arn:aws:iam::${accountId}:role/function`,
                action,
                resource: { resource, accountId },
                contextVariables: context,
            },
            identityPolicies: policies.map((policy, n) => ({ name: `policy${n}`, policy })),
            serviceControlPolicies: [],
            resourceControlPolicies: [],
        },
        {},
    );
    if (result.resultType === "error") {
        const { message, identityPolicyErrors } = result.errors;
        return identityPolicyErrors ? `${message} ${JSON.stringify(identityPolicyErrors)}` : message;
    }
    const ignored = result.result?.ignoredContextKeys ?? [];
    return ignored.length > 0 ? `the action does not support the condition keys ${ignored}` : result.overallResult;
}

const decisions = [];
for (const request of JSON.parse(readFileSync(0, "utf8"))) {
    decisions.push(await decide(request));
}
console.log(JSON.stringify(decisions));
