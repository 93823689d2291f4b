\set ws random(1, :workspaces)
select hold(:ws, 2) as key \gset
select settle(:key, 2);
