select hold(:ws, 2) as key \gset
select settle(:key, 2);
