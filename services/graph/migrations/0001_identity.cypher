// One node per identity and tenant: what MERGE and the start of each traversal look up.
CREATE CONSTRAINT agent_identity IF NOT EXISTS FOR (n:Agent) REQUIRE (n.organization_id, n.id) IS UNIQUE;
CREATE CONSTRAINT user_identity IF NOT EXISTS FOR (n:User) REQUIRE (n.organization_id, n.id) IS UNIQUE;
CREATE CONSTRAINT topic_identity IF NOT EXISTS FOR (n:Topic) REQUIRE (n.organization_id, n.id) IS UNIQUE;
CREATE CONSTRAINT collection_identity IF NOT EXISTS FOR (n:Collection) REQUIRE (n.organization_id, n.id) IS UNIQUE;

// One position for each feed, whatever number of processes project it.
CREATE CONSTRAINT projection_name IF NOT EXISTS FOR (n:Projection) REQUIRE n.name IS UNIQUE;
