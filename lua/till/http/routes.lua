-- till/http/routes - the modules whose routes are served, in the order of the documentation.
return {
  "till.http.store_api.products",
  "till.http.store_api.search",
  "till.http.store_api.carts",
  "till.http.store_api.orders",
  "till.http.auth_api",
  "till.http.hooks_api",
  "till.http.admin_api.products",
  "till.http.admin_api.categories",
  "till.http.admin_api.inventory",
  "till.http.admin_api.imports",
  "till.http.admin_api.orders",
  "till.http.admin_api.promotions",
  "till.http.admin_api.people",
  "till.http.admin_api.jobs",
  "till.http.admin_api.generations",
  "till.http.admin_api.audit",
}
