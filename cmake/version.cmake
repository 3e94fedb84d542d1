# Writes version.h with the project's version and git revision; touches it only when they change.
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12
  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT revision)
  set(revision unknown)
endif()
file(CONFIGURE OUTPUT ${OUTPUT}
  CONTENT "#pragma once\n#define ASSAY_VERSION \"${VERSION}\"\n#define ASSAY_REVISION \"${revision}\"\n")
