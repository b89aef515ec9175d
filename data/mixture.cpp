#include "data/mixture.h"

#include <cmath>
#include <map>

#include "base/error.h"
#include "data/glob.h"

namespace kessoku::data {
namespace {

std::string parent_path(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

// "./a/" and "a" are the same folder; "./." stays: the root's own images.
std::string clean_key(std::string key) {
  while (key.size() > 1 && key.back() == '/') key.pop_back();
  if (key.starts_with("./") && key != "./.") key.erase(0, 2);
  return key;
}

// Folders and the weights of their children, while the shares are worked out.
class Tree {
 public:
  Tree(const std::vector<Category>& categories, const std::vector<Row>& rows);

  void weigh_naturally();
  void weigh_by_rules(const MixtureRules& rules);
  Mixture take() { return std::move(mixture_); }

 private:
  size_t size() const { return categories_.size(); }
  bool drawable(size_t folder) const {
    return mixture_.own_examples[folder] > 0 && categories_[folder].multiply > 0;
  }
  size_t find_parent(size_t folder) const;
  void apply_rule(const std::string& key, double weight);
  std::string suggestion(const std::string& key) const;
  void share_out(size_t folder, double share);
  void sum_up_own_shares();
  bool mark_living(size_t folder);
  void warn_of_multipliers(bool rules);

  const std::vector<Category>& categories_;
  std::vector<std::vector<size_t>> children_;
  std::vector<size_t> top_down_;  // parents before their children
  std::vector<size_t> parent_;
  std::vector<double> weight_;      // of the folder among its siblings
  std::vector<double> own_weight_;  // of its own images among its sub-folders
  Mixture mixture_;
};

Tree::Tree(const std::vector<Category>& categories, const std::vector<Row>& rows)
    : categories_(categories),
      children_(categories.size()),
      parent_(categories.size(), 0),
      weight_(categories.size(), 1),
      own_weight_(categories.size(), 1) {
  if (categories.empty() || categories[0].path != ".") {
    throw DataError(
        "the store's categories do not begin with the root folder \".\"; prepare the store again");
  }
  mixture_.category_share.resize(size());
  mixture_.own_share.resize(size());
  mixture_.own_examples.resize(size());
  for (const Category& category : categories) {
    if (!(category.multiply >= 0) || std::isinf(category.multiply)) {
      throw DataError(fmt::format("multiply of folder \"{}\" is {}; it must be 0 or more",
                                  category.path, category.multiply));
    }
  }
  for (const Row& row : rows) {
    if (row.category >= size()) {
      throw DataError(fmt::format("an example is of category {}, but the store has {} categories",
                                  row.category, size()));
    }
    ++mixture_.own_examples[row.category];
  }
  std::map<std::string_view, size_t> by_path;
  for (size_t i = 0; i < size(); ++i) by_path[categories[i].path] = i;
  for (size_t i = 1; i < size(); ++i) {
    // A folder that the list leaves out hands its sub-folders to the next one above.
    std::string path = parent_path(categories[i].path);
    while (!by_path.contains(path)) path = parent_path(path);
    parent_[i] = by_path[path];
    children_[parent_[i]].push_back(i);
  }
  top_down_ = {0};
  for (size_t i = 0; i < top_down_.size(); ++i) {
    top_down_.insert(top_down_.end(), children_[top_down_[i]].begin(),
                     children_[top_down_[i]].end());
  }
  mixture_.examples = mixture_.own_examples;
  for (size_t i = top_down_.size() - 1; i > 0; --i) {
    mixture_.examples[parent_[top_down_[i]]] += mixture_.examples[top_down_[i]];
  }
}

void Tree::warn_of_multipliers(bool rules) {
  uint64_t ignored = 0;
  for (size_t i = 0; i < size(); ++i) {
    const Category& category = categories_[i];
    if (mixture_.own_examples[i] == 0) continue;
    if (category.multiply == 0) {
      mixture_.warnings.push_back(fmt::format(
          "folder \"{}\" has multiply 0: its {} images are never drawn (EveryDream2 would read 1)",
          category.path, mixture_.own_examples[i]));
    }
    ignored += rules && category.multiply != 0 && category.multiply != 1;
  }
  if (ignored > 0) {
    mixture_.warnings.push_back(fmt::format(
        "multiply.txt of {} folders is not used, because the run file has a [mixture]", ignored));
  }
}

void Tree::sum_up_own_shares() {
  mixture_.category_share = mixture_.own_share;
  for (size_t i = top_down_.size() - 1; i > 0; --i) {
    mixture_.category_share[parent_[top_down_[i]]] += mixture_.category_share[top_down_[i]];
  }
  mixture_.category_share[0] = 1;
}

void Tree::weigh_naturally() {
  warn_of_multipliers(false);
  double total = 0;
  for (size_t i = 0; i < size(); ++i) {
    mixture_.own_share[i] = categories_[i].multiply * static_cast<double>(mixture_.own_examples[i]);
    total += mixture_.own_share[i];
  }
  if (!(total > 0) || std::isinf(total)) {
    throw UsageError(
        "nothing is left to draw: the store has no example in a folder of multiply > 0");
  }
  for (double& share : mixture_.own_share) share /= total;
  sum_up_own_shares();
}

std::string Tree::suggestion(const std::string& key) const {
  std::vector<std::string> paths;
  for (const Category& category : categories_) paths.push_back(category.path);
  const std::string nearest = nearest_word(key, paths);
  if (!nearest.empty()) return fmt::format("; did you mean \"{}\"?", nearest);
  return "; `kessoku inspect` lists the store's folders";
}

void Tree::apply_rule(const std::string& key, double weight) {
  if (!(weight >= 0) || std::isinf(weight)) {
    throw UsageError(fmt::format("[mixture] \"{}\" = {}: a weight must be 0 or more", key, weight));
  }
  const std::string pattern = clean_key(key);
  const bool own = pattern.ends_with("/.");
  const std::string folders = own ? pattern.substr(0, pattern.size() - 2) : pattern;
  size_t matches = 0;
  for (size_t i = 0; i < size(); ++i) {
    if (!glob_matches(folders, categories_[i].path)) continue;
    if (own && mixture_.own_examples[i] == 0) continue;
    // The root has no siblings; "*" means the folders below it.
    if (!own && i == 0 && folders != ".") continue;
    (own ? own_weight_ : weight_)[i] = weight;
    ++matches;
  }
  if (matches == 0) {
    throw UsageError(fmt::format("[mixture] \"{}\" matches no {}{}", key,
                                 own ? "folder with images of its own" : "folder",
                                 suggestion(folders)));
  }
}

// Whether anything below (or in) the folder can be drawn; shareless folders get weight 0.
bool Tree::mark_living(size_t folder) {
  bool living = drawable(folder) && own_weight_[folder] > 0;
  if (!living) own_weight_[folder] = 0;
  for (const size_t child : children_[folder]) living |= weight_[child] > 0;
  if (!living) weight_[folder] = 0;
  return living;
}

void Tree::share_out(size_t folder, double share) {
  mixture_.category_share[folder] = share;
  if (!(share > 0)) return;
  double total = own_weight_[folder];
  for (const size_t child : children_[folder]) total += weight_[child];
  if (std::isinf(total)) throw UsageError("[mixture]: the weights' sum is too large for a number");
  mixture_.own_share[folder] = share * (own_weight_[folder] / total);
  for (const size_t child : children_[folder]) {
    mixture_.category_share[child] = share * (weight_[child] / total);
  }
}

void Tree::weigh_by_rules(const MixtureRules& rules) {
  warn_of_multipliers(true);
  for (const auto& [key, weight] : rules) apply_rule(key, weight);
  for (size_t i = top_down_.size(); i-- > 0;) mark_living(top_down_[i]);
  if (!(weight_[0] > 0)) {
    throw UsageError(
        "[mixture] leaves nothing to draw: every folder with images has weight 0 or multiply 0");
  }
  mixture_.category_share[0] = 1;
  for (const size_t folder : top_down_) share_out(folder, mixture_.category_share[folder]);
}

}  // namespace

Mixture resolve_mixture(const std::vector<Category>& categories, const std::vector<Row>& rows,
                        const MixtureRules& rules) {
  Tree tree(categories, rows);
  if (rules.empty()) {
    tree.weigh_naturally();
  } else {
    tree.weigh_by_rules(rules);
  }
  return tree.take();
}

}  // namespace kessoku::data
