//! Who there is: accounts, users, groups, roles, their keys and their policies.
