// What makes the pages of background work more convenient; all of them work without it.
"use strict";

// -- overview --

// -- failures and operations --

// -- schedules --
