//! For tests: keys, clocks, events, an embedded DynamoDB, a client that injects faults.
