"""The queries that are measured, by name: selection sets, so that each run can give its operation a name."""

SIMPLE = "{ agents(first: 1) { id name description status type tags createTime updateTime etag } }"
AGENTS = "{ agents { id name } }"
DEMO = """
{ agents(first: 3) {
    name
    owner { displayName }
    latestVersion { number }
    executions(first: 2) { status durationMs }
    knowledge(query: "how do I catch an exception", first: 3) { text score }
    collaborators(depth: 2) { name }
} }
"""
COMPLEX = "{ agents(first: 20) { id name executions(first: 5) { id status durationMs version } } }"

SCENARIOS = {"simple": SIMPLE, "agents": AGENTS, "demo": DEMO, "complex": COMPLEX}
