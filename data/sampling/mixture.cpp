#include "data/sampling/mixture.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/parallel.h"
#include "base/text.h"
#include "data/sampling/glob.h"
#include "data/sampling/parts.h"

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

// A folder's own images, counted by multiplier.
struct Tally {
  struct Count {
    uint64_t drawable = 0;
    uint64_t held_out = 0;
  };
  std::map<double, Count> by_multiplier;

  // The sum of the multipliers, of all images and of those that may be drawn.
  double weight() const {
    double sum = 0;
    for (const auto& [multiply, count] : by_multiplier)
      sum += multiply * static_cast<double>(count.drawable + count.held_out);
    return drawable_weight() > 0 ? sum : 0;
  }
  double drawable_weight() const {
    double sum = 0;
    for (const auto& [multiply, count] : by_multiplier)
      sum += multiply * static_cast<double>(count.drawable);
    return sum;
  }
  uint64_t of_weight_zero() const {
    const auto found = by_multiplier.find(0);
    return found == by_multiplier.end() ? 0 : found->second.drawable + found->second.held_out;
  }
};

// Folders and the weights of their children, while the shares are worked out.
class Tree {
 public:
  Tree(const std::vector<Category>& categories, const Examples& examples, int threads);

  void weigh_by_multipliers();
  void weigh_down_the_tree(const MixtureRules& rules);
  Mixture take();

 private:
  size_t size() const { return categories_.size(); }
  void count(const Examples& examples, int threads);
  void count_part(const Examples& examples, uint64_t begin, uint64_t end,
                  std::vector<Tally>& tallies) const;
  void apply_rule(const std::string& key, double weight);
  std::string suggestion(const std::string& key) const;
  void share_out(size_t folder, double share);
  void sum_up_own_shares();
  bool mark_living(size_t folder);
  void warn_of_multipliers(bool rules);
  void warn_of_weights();
  bool named_by_shares(size_t folder) const;
  void warn_of_unnamed();

  const std::vector<Category>& categories_;
  std::vector<Tally> tallies_;
  std::vector<std::vector<size_t>> children_;
  std::vector<size_t> top_down_;  // parents before their children
  std::vector<size_t> parent_;
  std::vector<double> weight_;           // of the folder among its siblings
  std::vector<double> own_weight_;       // of its own images among its sub-folders
  std::vector<bool> named_, own_named_;  // by a rule, or by the dataset
  Mixture mixture_;
};

Tree::Tree(const std::vector<Category>& categories, const Examples& examples, int threads)
    : categories_(categories),
      tallies_(categories.size()),
      children_(categories.size()),
      parent_(categories.size(), 0),
      weight_(categories.size(), 1) {
  if (categories.empty() || categories[0].path != ".") {
    throw DataError(
        "the store's categories do not begin with the root folder \".\"; prepare the store again");
  }
  for (size_t i = 0; i < size(); ++i) {
    weight_[i] = categories[i].weight.value_or(1);
    named_.push_back(categories[i].weight.has_value());
  }
  own_weight_ = weight_;
  own_named_ = named_;
  mixture_.category_share.resize(size());
  mixture_.own_share.resize(size());
  mixture_.own_examples.resize(size());
  count(examples, threads);
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

void Tree::count(const Examples& examples, int threads) {
  const Parts parts(examples.size, threads);
  std::vector<std::vector<Tally>> counted(parts.count(), tallies_);
  parallel_for(parts.count(), threads, [&](size_t part) {
    count_part(examples, parts.begin(part), parts.begin(part + 1), counted[part]);
  });
  for (const std::vector<Tally>& part : counted) {
    for (size_t i = 0; i < size(); ++i) {
      for (const auto& [multiply, count] : part[i].by_multiplier) {
        Tally::Count& sum = tallies_[i].by_multiplier[multiply];
        sum.drawable += count.drawable;
        sum.held_out += count.held_out;
        mixture_.own_examples[i] += count.drawable + count.held_out;
      }
    }
  }
}

void Tree::count_part(const Examples& examples, uint64_t begin, uint64_t end,
                      std::vector<Tally>& tallies) const {
  Tally::Count* tally = nullptr;  // of the last example: most often the next one's too
  ExampleKey last{};
  for (uint64_t i = begin; i < end; ++i) {
    const ExampleKey key = examples.at(i);
    if (tally == nullptr || key.category != last.category || key.multiply != last.multiply) {
      if (key.category >= size()) {
        throw DataError(fmt::format("example {} is of category {}, but the store has {} categories",
                                    i, key.category, size()));
      }
      if (!(key.multiply >= 0) || std::isinf(key.multiply)) {
        throw DataError(
            fmt::format("the multiplier of example {} in folder \"{}\" is {}; it must "
                        "be 0 or more",
                        i, categories_[key.category].path, key.multiply));
      }
      tally = &tallies[key.category].by_multiplier[key.multiply];
      last = key;
    }
    ++(key.held_out ? tally->held_out : tally->drawable);
  }
}

void Tree::warn_of_multipliers(bool rules) {
  uint64_t ignored = 0;
  std::vector<std::string> lines;
  for (size_t i = 0; i < size(); ++i) {
    const uint64_t zero = tallies_[i].of_weight_zero();
    if (zero > 0) {
      lines.push_back(
          fmt::format("folder \"{}\" has multiply 0 for {} of its {} images: they are never drawn "
                      "(EveryDream2 would read 1)",
                      categories_[i].path, zero, mixture_.own_examples[i]));
    }
    // Among themselves equal images stay equal, whatever their multiplier.
    const auto& by_multiplier = tallies_[i].by_multiplier;
    ignored += by_multiplier.size() == 1 && zero == 0 && !by_multiplier.contains(1);
  }
  mixture_.warnings = shortened(std::move(lines), "folders of multiply 0");
  if (rules && ignored > 0) {
    mixture_.warnings.push_back(fmt::format(
        "multiply.txt of {} folders is not used, because folders have weights", ignored));
  }
}

void Tree::warn_of_weights() {
  std::vector<std::string> lines;
  for (size_t i = 0; i < size(); ++i) {
    const std::string& path = categories_[i].path;
    if (weight_[i] == 0 && mixture_.examples[i] > 0) {
      lines.push_back(fmt::format("folder \"{}\" has weight 0: its {} images are never drawn", path,
                                  mixture_.examples[i]));
    } else if (own_weight_[i] == 0 && mixture_.own_examples[i] > 0) {
      lines.push_back(
          fmt::format("\"{}/.\" has weight 0: the {} images of the folder itself are "
                      "never drawn",
                      path, mixture_.own_examples[i]));
    }
  }
  lines = shortened(std::move(lines), "folders of weight 0");
  mixture_.warnings.insert(mixture_.warnings.end(), lines.begin(), lines.end());
}

// Whether the named children's weights read as shares of all, as parts of 1 or in percent. Others
// (2 for a folder that matters more, 0 for one to leave out) are relative to the 1 of the rest.
bool Tree::named_by_shares(size_t folder) const {
  double sum = own_named_[folder] ? own_weight_[folder] : 0;
  for (const size_t child : children_[folder]) sum += named_[child] ? weight_[child] : 0;
  return (sum > 0 && sum <= 1) || (sum >= 50 && sum <= 100);
}

void Tree::warn_of_unnamed() {
  std::vector<std::string> lines;
  const auto add = [&](bool named, const std::string& path, double share) {
    if (named || !(share > 0)) return;
    lines.push_back(
        fmt::format("[mixture] names siblings of \"{}\" but not it: its weight is 1, {:.1f} % of "
                    "all draws; give it a weight (0 leaves it out)",
                    path, 100 * share));
  };
  for (const size_t folder : top_down_) {
    if (!named_by_shares(folder)) continue;
    add(own_named_[folder], categories_[folder].path + "/.", mixture_.own_share[folder]);
    for (const size_t child : children_[folder])
      add(named_[child], categories_[child].path, mixture_.category_share[child]);
  }
  lines = shortened(std::move(lines), "folders without a weight");
  mixture_.warnings.insert(mixture_.warnings.end(), lines.begin(), lines.end());
}

void Tree::sum_up_own_shares() {
  mixture_.category_share = mixture_.own_share;
  for (size_t i = top_down_.size() - 1; i > 0; --i) {
    mixture_.category_share[parent_[top_down_[i]]] += mixture_.category_share[top_down_[i]];
  }
  mixture_.category_share[0] = 1;
}

void Tree::weigh_by_multipliers() {
  mixture_.by_multipliers = true;
  warn_of_multipliers(false);
  double total = 0;
  for (size_t i = 0; i < size(); ++i) {
    mixture_.own_share[i] = tallies_[i].weight();
    total += mixture_.own_share[i];
  }
  if (!(total > 0)) {
    throw UsageError("nothing is left to draw: the store has no example of a multiplier above 0");
  }
  if (std::isinf(total)) throw UsageError("the multipliers' sum is too large for a number");
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
    (own ? own_named_ : named_)[i] = true;
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
  bool living = tallies_[folder].drawable_weight() > 0 && own_weight_[folder] > 0;
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

void Tree::weigh_down_the_tree(const MixtureRules& rules) {
  warn_of_multipliers(true);
  for (const auto& [key, weight] : rules) apply_rule(key, weight);
  warn_of_weights();
  for (size_t i = top_down_.size(); i-- > 0;) mark_living(top_down_[i]);
  if (!(weight_[0] > 0)) {
    throw UsageError(
        "[mixture] leaves nothing to draw: every folder with images has weight 0 or multiply 0");
  }
  mixture_.category_share[0] = 1;
  for (const size_t folder : top_down_) share_out(folder, mixture_.category_share[folder]);
  warn_of_unnamed();
}

Mixture Tree::take() {
  for (uint32_t i = 0; i < size(); ++i) {
    mixture_.first_leaf.push_back(static_cast<uint32_t>(mixture_.leaves.size()));
    const double share = mixture_.own_share[i];
    if (!(share > 0)) continue;
    const double weight = tallies_[i].drawable_weight();
    if (std::isinf(weight)) throw UsageError("the multipliers' sum is too large for a number");
    for (const auto& [multiply, count] : tallies_[i].by_multiplier) {
      if (!(multiply > 0) || count.drawable == 0) continue;
      const double part = multiply * static_cast<double>(count.drawable) / weight;
      mixture_.leaves.push_back({i, multiply, count.drawable, share * part});
    }
  }
  mixture_.first_leaf.push_back(static_cast<uint32_t>(mixture_.leaves.size()));
  return std::move(mixture_);
}

}  // namespace

std::optional<uint32_t> Mixture::leaf_of(const ExampleKey& key) const {
  if (key.held_out || key.category + 1 >= first_leaf.size()) return std::nullopt;
  const auto begin = leaves.begin() + first_leaf[key.category];
  const auto end = leaves.begin() + first_leaf[key.category + 1];
  const auto found = std::ranges::lower_bound(begin, end, key.multiply, {}, &Leaf::multiply);
  if (found == end || found->multiply != key.multiply) return std::nullopt;
  return static_cast<uint32_t>(found - leaves.begin());
}

Mixture resolve_mixture(const std::vector<Category>& categories, const Examples& examples,
                        const MixtureRules& rules, int threads) {
  Tree tree(categories, examples, threads);
  const bool weights = std::ranges::any_of(
      categories, [](const Category& category) { return category.weight.has_value(); });
  if (rules.empty() && !weights) {
    tree.weigh_by_multipliers();
  } else {
    tree.weigh_down_the_tree(rules);
  }
  return tree.take();
}

}  // namespace kessoku::data
