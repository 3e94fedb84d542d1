#include "assay/tokenizer/token_ids.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "tests/support.h"

namespace assay {
namespace {

TEST(TokenIds, ListsInEverySpelling) {
  const std::vector<TokenId> ids = {1, 20, 3};
  for (const char* text : {"1,20,3", "1 20 3", "[1, 20, 3]", "1\n20\n3\n", " [\n1,\n20\t,3 ]\r\n", "1, 20 3"})
    EXPECT_EQ(parse_token_ids(text, "ids"), ids) << text;
  EXPECT_EQ(parse_token_ids("[7]", "ids"), std::vector<TokenId>{7});
}

TEST(TokenIds, AnythingElseIsNamed) {
  for (const char* text :
       {"1,x,3", "1,,3", "[1,2", "1,2]", "[[1]]", "-1", "1.5", "99999999999", "1e3", "0x10", "{}"})
    EXPECT_ERROR(parse_token_ids(text, "ids.txt"), "ids.txt: \"", "is no token id");
  EXPECT_ERROR(parse_token_ids("1,2,", "--ids"), "--ids", "missing behind the last comma");
  for (const char* text : {"", " \n", "[]", "[ ]"})
    EXPECT_ERROR(parse_token_ids(text, "--ids"), "no token ids");
  EXPECT_ERROR(parse_token_ids("1 \x1b[2K", "--ids"), "\\x1b[2K");
}

}  // namespace
}  // namespace assay
